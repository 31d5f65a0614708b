"""FFL, feature fusion learning: peers teach a fused classifier, which teaches them."""

from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import FFLConfig
from kdzoo.registry import methods


@methods.register("ffl")
class FFL(Method):
    """The peers' mean teaches a classifier on their fused features, which teaches each peer.

    ``sum_i CE(z_i, y) + CE(z_f, y) + w [KL(m || f) + sum_i KL(f || i)]`` with f the fused
    classifier and m the mean of the peers' logits; what teaches is held constant.
    """

    Config = FFLConfig
    paper = (
        "Kim, Hyun, Chung, Kwak. Feature Fusion for Online Mutual Knowledge Distillation. "
        "ICPR 2020. arXiv:1904.09058"
    )
    trains_aggregator_through = frozenset({"ensemble"})
    mixes_backbones = True

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, z_f, targets = outputs.logits, outputs.ensemble, outputs.targets.detach()
        mean = z.detach().mean(dim=0)
        w = ramp_up(batch.progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, batch.y),
            "ensemble_ce": cross_entropy(z_f, batch.y),
            "ensemble_kd": w * self.divergence(mean, z_f, batch.y),
            "kd": w * self.divergence(targets, z, batch.y),
        }
