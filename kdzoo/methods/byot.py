"""BYOT, be your own teacher: self-distillation from the deepest classifier to early exits."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods.base import Method, MethodConfig, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl
from kdzoo.peers.exits import ExitPeers
from kdzoo.registry import methods


class BYOTConfig(MethodConfig):
    peers: Annotated[int, Field(ge=2)] = 3
    """P classifiers: the backbone's own, and one after each of the P-1 stages before its last."""
    layout: Literal["branched"] = "branched"
    """All classifiers stand on one network."""
    temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, which softens the distributions that are compared."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of the distillation of logits; the labels have the rest."""
    feature_weight: Annotated[float, Field(ge=0)] = 1.28e-4
    """What the distance of the features from the deepest ones is multiplied by."""


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

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> ExitPeers:
        return ExitPeers(backbones[0], len(backbones), seed)

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z, alpha = outputs.logits, self.config.alpha
        exits, deepest = z[:-1], z[-1].detach()
        h = torch.stack(outputs.embeddings).to(z.dtype)
        distance = (h[:-1] - h[-1].detach()).square().sum() / z.shape[1]
        return {
            "ce": (1 - alpha) * cross_entropy(z, y),
            "kd": alpha * kl(deepest.expand_as(exits), exits, self.config.temperature),
            "features": self.config.feature_weight * distance,
        }
