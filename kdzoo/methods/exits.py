"""The exits of several networks, and what all of them say of a batch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from kdzoo.methods.exit_heads import ExitHeads
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey

Maps = tuple[Tensor, ...]


class Exits(NamedTuple):
    """What the exits of all P networks say, N = P L of them.

    Attributes:
        embeddings: N tensors [B, D].
        projected: the same as they are compared, N tensors [B, width].
        logits: [N, B, K].
        aggregated: [P, B, K], their weighted sum in each network.
    """

    embeddings: list[Tensor]
    projected: list[Tensor]
    logits: Tensor
    aggregated: Tensor


def exit_heads(example: PeerOutputs, stages: Sequence[StageKey], compared: int) -> nn.ModuleList:
    """:class:`ExitHeads` of each network, with exits after some stages and its own classifier.

    Args:
        example: outputs of the networks, to take shapes from.
        stages: that the exits but the last stand after.
        compared: the width of the embeddings that are compared.
    """
    return nn.ModuleList(
        ExitHeads(
            [tuple(example.stages[key][peer].shape[1:]) for key in stages],
            tuple(example.features[peer].shape[1:]),
            example.embeddings[peer].shape[1],
            example.logits.shape[-1],
            compared,
        )
        for peer in range(len(example.logits))
    )


def early_embeddings(
    heads: nn.ModuleList, stages: Sequence[StageKey], maps: Mapping[StageKey, Maps]
) -> dict[StageKey, Maps]:
    """The embeddings [B, D] of the exits after each of the stages, one a network.

    :func:`exits_of` finds them by the names that they have here.

    Args:
        heads: of :func:`exit_heads`.
        stages: that the exits stand after.
        maps: of those, one a network.
    """
    seen = [
        own.embeddings([maps[key][peer] for key in stages]) for peer, own in enumerate(_each(heads))
    ]
    return dict(zip(map(_at_exit, stages), zip(*seen, strict=True), strict=True))


def exits_of(heads: nn.ModuleList, stages: Sequence[StageKey], outputs: PeerOutputs) -> Exits:
    """What all exits say.

    Args:
        heads: of :func:`exit_heads`.
        stages: that the exits stand after.
        outputs: of the networks, with :func:`early_embeddings` among their stages.
    """
    z = outputs.logits
    embeddings: list[Tensor] = []
    projected: list[Tensor] = []
    logits: list[Tensor] = []
    aggregated: list[Tensor] = []
    for peer, own in enumerate(_each(heads)):
        h = [outputs.stages[_at_exit(key)][peer] for key in stages]
        h = [each.to(z.dtype) for each in (*h, outputs.embeddings[peer])]
        embeddings += h
        logits.append(own.logits(h, z[peer]))
        aggregated.append(torch.einsum("bl,lbk->bk", own.weights(h), logits[-1]))
        projected += own.projected(h)
    return Exits(embeddings, projected, torch.cat(logits), torch.stack(aggregated))


def _each(heads: nn.ModuleList) -> list[ExitHeads]:
    return cast(list[ExitHeads], list(heads))


def _at_exit(key: StageKey) -> StageKey:
    """What the embeddings of the exit after a stage are called among the outputs' stages."""
    return f"exit {key}"
