"""BYOT, be your own teacher: self-distillation from the deepest classifier to early exits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import BYOTConfig
from kdzoo.peers.exits import ExitPeers
from kdzoo.registry import methods


@methods.register("byot")
class BYOT(Method):
    """Self-distillation: the deepest classifier teaches exits after earlier stages.

    ``(1 - alpha) sum_i CE(z_i, y) + sum_{i < P} [alpha KL(P || i) + beta ||h_i - h_P||^2]`` with
    h_i the embedding before classifier i. The deepest classifier, P, is held constant where it
    teaches; it is the one that is deployed.
    """

    Config = BYOTConfig
    paper = (
        "Zhang, Song, Gao, Chen, Bao, Ma. Be Your Own Teacher: Improve the Performance of "
        "Convolutional Neural Networks via Self Distillation. ICCV 2019. arXiv:1905.08094"
    )
    sees_targets = False

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> ExitPeers:
        return ExitPeers(backbones[0], len(backbones), seed, self.watched)

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha = outputs.logits, self.config.alpha
        exits, deepest = z[:-1], z[-1].detach()
        h = torch.stack(outputs.embeddings).to(z.dtype)
        distance = (h[:-1] - h[-1].detach()).square().sum() / z.shape[1]
        return {
            "ce": (1 - alpha) * cross_entropy(z, batch.y),
            "kd": alpha * self.divergence(deepest.expand_as(exits), exits, batch.y),
            "features": self.config.feature_weight * distance,
        }
