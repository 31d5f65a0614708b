"""L-MCL, layer-wise mutual contrastive learning: networks compare images at exits along the way."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.exits import Exits, early_embeddings, exit_heads, exits_of
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.meta_step import at_rest, meta_gradient, nesterov_step
from kdzoo.methods.mutual_contrast import MutualContrast
from kdzoo.methods.pair_weights import pair_maps, pair_weights
from kdzoo.methods.settings import LMCLConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods


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
        exits, width = self.config.exits + 1, self.config.width
        self.heads = exit_heads(example, self.stages, width)
        networks = [peer for peer in range(len(example.logits)) for _ in range(exits)]
        self.mutual_contrast = MutualContrast(networks, self.config.tau, self.config.temperature)
        maps = 0 if self.config.meta_every is None else exits
        self.pair_maps = pair_maps([h.shape[1] for h in example.embeddings], maps, width)
        self.velocity = at_rest(self.pair_maps)  # of the SGD that learns them

    def aggregate(self, outputs: PeerOutputs) -> MethodOutputs:
        """As every method's, with the embeddings [B, D] of the exits beside their stages' maps."""
        early = early_embeddings(self.heads, self.stages, outputs.stages)
        return super().aggregate(replace(outputs, stages={**outputs.stages, **early}))

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().aggregate(self.peers(x)))  # nothing that is judged has exits

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, y, peers = outputs.logits, batch.y, len(outputs.logits)
        exits = exits_of(self.heads, self.stages, outputs)
        weights = None
        if self.config.meta_every is not None:
            weights = pair_weights(self.pair_maps, [h.detach() for h in exits.embeddings])
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

    def meta_step(self, x: Tensor, y: Tensor, lr: float) -> Sequence[Tensor]:
        """Let the pairs count for more that make the labels easier to learn.

        The maps of the pairs' weights take a step down the gradient of the labels' loss of all
        exits, as it is after ``meta_steps`` steps of SGD on the contrastive terms and one on the
        labels. The networks stay as they are.
        """
        inner, outer = self._contrastive, self._labels
        gradients = meta_gradient(
            self, "pair_maps", inner, outer, x, y, steps=self.config.meta_steps, lr=lr
        )
        return nesterov_step(self.pair_maps, self.velocity, gradients, lr)

    def _contrastive(self, x: Tensor, y: Tensor) -> Tensor:
        exits = exits_of(self.heads, self.stages, self.outputs(x))
        terms = self.contrast(exits, y, pair_weights(self.pair_maps, exits.embeddings))
        return torch.stack(list(terms.values())).sum()

    def _labels(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(exits_of(self.heads, self.stages, self.outputs(x)).logits, y)
