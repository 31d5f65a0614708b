"""KDCL, collaborative learning with views: the best combination of the logits teaches all."""

import torch
from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.convex_combination import best_combination
from kdzoo.methods.losses import class_probabilities, cross_entropy, ramp_up
from kdzoo.methods.settings import KDCLConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods

RATE = 0.01
"""What each step adds to the running error correlation of ``general``."""

RIDGE = 1e-3
"""Of the mean squared error, added to it: peers that err alike get equal weights."""


@methods.register("kdcl")
class KDCL(Method):
    """Peers that see different views and are all taught the best combination of their logits.

    ``sum_i [CE(z_i, y) + w lambda KL(t || i)]`` with the target t made of all z_i and the labels,
    and held constant.
    """

    Config = KDCLConfig
    paper = (
        "Guo, Wang, Wu, Yu, Liang, Hu, Luo. Online Knowledge Distillation via Collaborative "
        "Learning. CVPR 2020"
    )
    sees_targets = False
    mixes_backbones = True

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        if self.config.variant == "general":
            self.register_buffer("correlation", torch.eye(len(example.logits)))
            self.correlation: Tensor

    @property
    def views(self) -> int:
        return self.config.peers

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z = outputs.logits
        targets = self.target(z.detach(), class_probabilities(batch.y, z)).expand_as(z)
        w = ramp_up(batch.progress, self.config.ramp_up) * self.config.weight
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": w * self.divergence(targets, z, batch.y),
        }

    def target(self, z: Tensor, y: Tensor) -> Tensor:
        """The target logits [B, K] that the variant makes.

        Args:
            z: [P, B, K] logits.
            y: [B, K] class probabilities.
        """
        if self.config.variant == "naive":
            losses = -(y * z.log_softmax(dim=-1)).sum(dim=-1)
            return torch.take_along_dim(z, losses.argmin(dim=0)[None, :, None], dim=0)[0]
        if self.config.variant == "minlogit":
            return (z - (y * z).sum(dim=-1, keepdim=True)).amin(dim=0)
        if self.config.variant == "linear":
            return torch.einsum("bp,pbk->bk", best_combination(z, y), z)
        weights = self._general_weights()
        self._update_correlation(z.softmax(dim=-1) - y)
        return torch.einsum("p,pbk->bk", weights, z)

    def _general_weights(self) -> Tensor:
        """[P]: ``C^-1 1 / (1 . C^-1 1)`` minimises the combination's error ``w . C w``."""
        tiny = torch.finfo(self.correlation.dtype).tiny
        error = self.correlation.diagonal().mean().clamp(min=tiny)
        ones = torch.ones_like(self.correlation[0])
        solution = torch.linalg.solve_ex(self.correlation + torch.diag(RIDGE * error * ones), ones)
        return solution.result / solution.result.sum()

    def _update_correlation(self, errors: Tensor) -> None:
        """Update ``C_ij``, the mean over samples of ``e_i . e_j``, with the errors [P, B, K]."""
        if self.training:
            present = torch.einsum("ibk,jbk->ij", errors, errors) / errors.shape[1]
            self.correlation.lerp_(present, RATE)
