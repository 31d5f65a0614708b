"""L-MCL, layer-wise mutual contrastive learning: networks compare images at exits along the way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.mutual_contrast import MutualContrast, projection
from kdzoo.methods.settings import LMCLConfig
from kdzoo.peers.calls import Shape
from kdzoo.peers.exits import Exit
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods


@methods.register("lmcl")
class LMCL(Method):
    """Networks with exits, whose embeddings are contrasted in pairs across the networks.

    ``sum_i [sum_k CE(z_ik, y) + CE(a_i, y)] + sum_ij KL(a_j || z_i) + alpha (VCL + ICL) + gamma
    (softVCL + softICL)`` with z_ik the logits of exit k of network i, its own classifier the last,
    and a_i their sum, weighted for each sample. The contrastive terms are those of every pair of an
    exit of one network and one of another. They weigh the same: the paper's meta step, which learns
    weights for them, is not in it.
    """

    Config = LMCLConfig
    paper = (
        "Yang, An, Zhou, Zhuang, Xu, Zhang. Online Knowledge Distillation via Mutual Contrastive "
        "Learning for Visual Recognition. TPAMI 2023. arXiv:2207.11518"
    )
    heads_of_peers = ("heads",)
    mixes_backbones = True

    @classmethod
    def images_per_class(cls, config: LMCLConfig) -> int:
        return config.per_class

    @property
    def stages(self) -> Sequence[StageKey]:
        return range(-1 - self.config.exits, -1)

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        classes, count = example.logits.shape[-1], self.config.exits + 1
        self.heads = nn.ModuleList(
            ExitHeads(
                [tuple(example.stages[key][peer].shape[1:]) for key in self.stages],
                tuple(example.features[peer].shape[1:]),
                example.embeddings[peer].shape[1],
                classes,
                self.config.width,
            )
            for peer in range(len(example.logits))
        )
        networks = [peer for peer in range(len(example.logits)) for _ in range(count)]
        self.mutual_contrast = MutualContrast(networks, self.config.tau, self.config.temperature)

    def aggregate(self, outputs: PeerOutputs) -> MethodOutputs:
        """As every method's, with the embeddings [B, D] of the exits beside their stages' maps."""
        keys = list(self.stages)
        seen = [
            heads.embeddings([outputs.stages[key][peer] for key in keys])
            for peer, heads in enumerate(self._heads())
        ]
        stages = dict(outputs.stages)
        stages.update(zip(map(at_exit, keys), zip(*seen, strict=True), strict=True))
        return super().aggregate(replace(outputs, stages=stages))

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().aggregate(self.peers(x)))  # nothing that is judged has exits

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, y, peers = outputs.logits, batch.y, len(outputs.logits)
        alpha, gamma = self.config.alpha, self.config.gamma
        exits: list[Tensor] = []
        aggregated: list[Tensor] = []
        projected: list[Tensor] = []
        for peer, heads in enumerate(self._heads()):
            h = [outputs.stages[at_exit(key)][peer] for key in self.stages]
            h = [each.to(z.dtype) for each in (*h, outputs.embeddings[peer])]
            exits.append(heads.logits(h, z[peer]))
            aggregated.append(torch.einsum("bl,lbk->bk", heads.weights(h), exits[-1]))
            projected += heads.projected(h)
        ensembles = torch.stack(aggregated)
        found = self.mutual_contrast(projected, target_class(y))
        opposite = len(projected) - len(exits[0])  # how many pairs each embedding is the first of
        return {
            "ce": cross_entropy(torch.cat(exits), y),
            "ensemble_ce": cross_entropy(ensembles, y),
            "kd": self.divergence(
                ensembles.detach().repeat(peers, 1, 1), z.repeat_interleave(peers, dim=0), y
            ),
            "vcl": alpha * opposite * found["vcl"],
            "icl": alpha * found["icl"],
            "soft_vcl": gamma * found["soft_vcl"],
            "soft_icl": gamma * found["soft_icl"],
        }

    def _heads(self) -> list["ExitHeads"]:
        return cast(list[ExitHeads], list(self.heads))


class ExitHeads(nn.Module):
    """What one network has besides itself: exits, and heads on the embeddings of all its L exits.

    The network's own classifier is the last of the L.

    Args:
        early: (C, h, w) of the map of each exit but the last.
        last: that of the network's last map.
        width: D, of the network's embedding.
        classes: K.
        compared: the width of the embeddings that are compared.
    """

    def __init__(
        self, early: Sequence[Shape], last: Shape, width: int, classes: int, compared: int
    ) -> None:
        super().__init__()
        count = len(early) + 1
        self.exits = nn.ModuleList(Exit(shape, last, width, classes) for shape in early)
        self.gate = projection(count * width, width, count)
        self.projections = nn.ModuleList(
            projection(width, compared, compared) for _ in range(count)
        )

    def embeddings(self, early: Sequence[Tensor]) -> list[Tensor]:
        """The embedding [B, D] of each exit but the last, of the maps [B, C, h, w] it stands on."""
        return [leave(seen).embedding for leave, seen in zip(self.exits, early, strict=True)]

    def logits(self, h: Sequence[Tensor], z: Tensor) -> Tensor:
        """[L, B, K], of L embeddings [B, D] and the network's own logits z [B, K]."""
        classifiers = [leave.get_submodule("classifier") for leave in self.exits]
        said = [classify(e) for classify, e in zip(classifiers, h[:-1], strict=True)]
        return torch.stack([*said, z])

    def weights(self, h: Sequence[Tensor]) -> Tensor:
        """[B, L], how much each exit counts for each sample."""
        return cast(Tensor, self.gate(torch.cat(list(h), dim=1)).softmax(dim=1))

    def projected(self, h: Sequence[Tensor]) -> list[Tensor]:
        """The L embeddings as they are compared, [B, compared] each."""
        return [project(e) for project, e in zip(self.projections, h, strict=True)]


def at_exit(key: StageKey) -> StageKey:
    """What the embeddings of the exit after a stage are called among the outputs' stages."""
    return f"exit {key}"
