"""L-MCL, layer-wise mutual contrastive learning: networks compare images at exits along the way."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.sgd import sgd

from kdzoo.backbones.layers import initialise
from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.exit_heads import ExitHeads
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.mutual_contrast import MutualContrast
from kdzoo.methods.pair_weights import pair_weights
from kdzoo.methods.settings import LMCLConfig
from kdzoo.methods.unrolled_sgd import Weights, call_with, unrolled_sgd
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""Of the steps that a meta step looks ahead, and of what it learns."""


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


@methods.register("lmcl")
class LMCL(Method):
    """Networks with exits, whose embeddings are contrasted in pairs across the networks.

    ``sum_i [sum_k CE(z_ik, y) + CE(a_i, y)] + sum_ij KL(a_j || z_i) + alpha (VCL + ICL) + gamma
    (softVCL + softICL)`` with z_ik the logits of exit k of network i, its own classifier the last,
    and a_i their sum, weighted for each sample. The contrastive terms are those of every pair of an
    exit of one network and one of another. They weigh the same, or by what meta steps learn.
    """

    Config = LMCLConfig
    paper = (
        "Yang, An, Zhou, Zhuang, Xu, Zhang. Online Knowledge Distillation via Mutual Contrastive "
        "Learning for Visual Recognition. TPAMI 2023. arXiv:2207.11518"
    )
    sees_targets = False
    heads_of_peers = ("heads", "pair_maps")
    mixes_backbones = True

    @classmethod
    def images_per_class(cls, config: LMCLConfig) -> int:
        return config.per_class

    @classmethod
    def meta_every(cls, config: LMCLConfig) -> int | None:
        return config.meta_every

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
        maps = 0 if self.config.meta_every is None else count
        self.pair_maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(h.shape[1], self.config.width) for _ in range(maps))
            for h in example.embeddings
        )
        initialise(self.pair_maps)
        self.pair_maps.requires_grad_(False)
        self.velocity = copy.deepcopy(self.pair_maps)  # of the SGD that learns them
        for moment in self.velocity.parameters():
            moment.zero_()

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
        exits = self.exits(outputs)
        weights = None
        if self.config.meta_every is not None:
            weights = self.weights([h.detach() for h in exits.embeddings])
        return {
            "ce": cross_entropy(exits.logits, y),
            "ensemble_ce": cross_entropy(exits.aggregated, y),
            "kd": self.divergence(
                exits.aggregated.detach().repeat(peers, 1, 1),
                z.repeat_interleave(peers, dim=0),
                y,
            ),
            **self.contrast(exits, y, weights),
        }

    def exits(self, outputs: MethodOutputs) -> Exits:
        """What all exits say, of the outputs of :meth:`aggregate`."""
        z = outputs.logits
        embeddings: list[Tensor] = []
        projected: list[Tensor] = []
        logits: list[Tensor] = []
        aggregated: list[Tensor] = []
        for peer, heads in enumerate(self._heads()):
            h = [outputs.stages[at_exit(key)][peer] for key in self.stages]
            h = [each.to(z.dtype) for each in (*h, outputs.embeddings[peer])]
            embeddings += h
            logits.append(heads.logits(h, z[peer]))
            aggregated.append(torch.einsum("bl,lbk->bk", heads.weights(h), logits[-1]))
            projected += heads.projected(h)
        return Exits(embeddings, projected, torch.cat(logits), torch.stack(aggregated))

    def contrast(self, exits: Exits, y: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        """The contrastive terms; ``weights`` [N, N, B] are those of the pairs, 1 if left out."""
        alpha, gamma = self.config.alpha, self.config.gamma
        found = self.mutual_contrast(exits.projected, target_class(y), weights)
        # how many pairs each embedding is the first of
        opposite = len(exits.projected) - self.config.exits - 1
        return {
            "vcl": alpha * opposite * found["vcl"],
            "icl": alpha * found["icl"],
            "soft_vcl": gamma * found["soft_vcl"],
            "soft_icl": gamma * found["soft_icl"],
        }

    def weights(self, embeddings: Sequence[Tensor]) -> Tensor:
        """[N, N, B], how much each pair of exits counts for each image."""
        return pair_weights(chain.from_iterable(cast(Any, self.pair_maps)), embeddings)

    @torch.enable_grad()
    def meta_step(self, x: Tensor, y: Tensor, lr: float) -> Sequence[Tensor]:
        """Let the pairs count for more that make the labels easier to learn.

        The maps of the pairs' weights take a step down the gradient of the labels' loss of all
        exits, as it is after ``meta_steps`` steps of SGD on the contrastive terms and one on the
        labels. The networks stay as they are.
        """
        maps: list[Tensor] = list(self.pair_maps.parameters())
        velocity: list[Tensor | None] = list(self.velocity.parameters())
        learnt = {
            f"pair_maps.{name}": parameter.detach().requires_grad_()
            for name, parameter in self.pair_maps.named_parameters()
        }
        trained = {
            name: parameter.detach().requires_grad_()
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }

        def contrastive(weights: Weights) -> Tensor:
            return call_with(self, self._contrastive, {**weights, **learnt}, x, y)

        def labels(weights: Weights) -> Tensor:
            return call_with(self, self._labels, weights, x, y)

        objectives = [contrastive] * self.config.meta_steps + [labels]
        with sdpa_kernel(SDPBackend.MATH):  # the other ones have no second derivative
            ahead = unrolled_sgd(
                objectives, trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
            )
            gradients = list(torch.autograd.grad(labels(ahead), list(learnt.values())))
        with torch.no_grad():
            sgd(
                maps,
                gradients,
                velocity,
                lr=lr,
                momentum=MOMENTUM,
                weight_decay=WEIGHT_DECAY,
                dampening=0,
                nesterov=True,
                maximize=False,
            )
        return [*maps, *self.velocity.parameters()]

    def _contrastive(self, x: Tensor, y: Tensor) -> Tensor:
        exits = self.exits(self.outputs(x))
        terms = self.contrast(exits, y, self.weights(exits.embeddings))
        return torch.stack(list(terms.values())).sum()

    def _labels(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(self.exits(self.outputs(x)).logits, y)

    def _heads(self) -> list["ExitHeads"]:
        return cast(list[ExitHeads], list(self.heads))


def at_exit(key: StageKey) -> StageKey:
    """What the embeddings of the exit after a stage are called among the outputs' stages."""
    return f"exit {key}"
