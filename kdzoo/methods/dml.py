"""DML, deep mutual learning: every peer is taught by each of the others."""

from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import DMLConfig
from kdzoo.registry import methods


@methods.register("dml")
class DML(Method):
    """Mutual learning: every peer is taught by each of the others.

    ``sum_i [CE(z_i, y) + w/(P-1) sum_{j != i} KL(j || i)]`` with peer j held constant.
    """

    Config = DMLConfig
    paper = "Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018"
    sees_targets = False
    mixes_backbones = True

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z = outputs.logits
        w = ramp_up(batch.progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": w * self.divergence.from_others(z.detach(), z, batch.y),
        }
