"""DDGSD, data-distortion guided self-distillation: two views of an image teach each other."""

from dataclasses import replace

import torch
from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import DDGSDConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods

VIEWS = 2


@methods.register("ddgsd")
class DDGSD(Method):
    """One network that sees two views of each image, of which each teaches the other.

    ``[CE(z_1, y) + CE(z_2, y)] / 2 + weight [KL(z_2 || z_1) + KL(z_1 || z_2)] + feature_weight
    ||mean_b h_1 - mean_b h_2||^2``: what teaches is held constant, h are the embeddings.
    """

    Config = DDGSDConfig
    paper = "Xu, Liu. Data-Distortion Guided Self-Distillation for Deep Neural Networks. AAAI 2019"

    @property
    def views(self) -> int:
        return VIEWS

    def outputs(self, x: Tensor) -> MethodOutputs:
        if x.dim() == 4:
            return super().outputs(x)
        return self.aggregate(by_view(self.peers(x.flatten(0, 1)), len(x)))

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z = outputs.logits.expand(VIEWS, -1, -1)  # in evaluation one view may stand for both
        one, other = outputs.embeddings[0], outputs.embeddings[-1]
        distance = (one - other).to(z.dtype).mean(dim=0).square().sum()
        return {
            "ce": cross_entropy(z, batch.y) / VIEWS,
            "kd": self.config.weight * self.divergence.from_others(z.detach(), z, batch.y),
            "features": self.config.feature_weight * distance,
        }

    def predict(self, outputs: MethodOutputs) -> dict[str, Tensor]:
        return {"student": outputs.logits[0], "peers": outputs.logits[:1]}


def by_view(outputs: PeerOutputs, views: int) -> PeerOutputs:
    """Outputs of one network for V*B samples, view after view, as if of V peers for B samples."""
    return replace(
        outputs,
        logits=torch.cat(outputs.logits.chunk(views, dim=1)),
        embeddings=outputs.embeddings[0].chunk(views),
        features=outputs.features[0].chunk(views),
    )
