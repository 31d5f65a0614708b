"""DML, deep mutual learning: every peer is taught by each of the others."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from kdzoo.methods.base import DistillationConfig, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl_from_others, ramp_up
from kdzoo.registry import methods


class DMLConfig(DistillationConfig):
    peers: Annotated[int, Field(ge=2)] = 2
    """P, how many networks teach each other; the paper's default cohort is two."""
    layout: Literal["branched", "independent"] = "independent"
    """How they share: one trunk with P branches, or P whole networks (the paper's)."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """T, which softens the distributions that are compared; the paper compares them as they are."""
    ramp_up: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The fraction of the training over which the weight w of the distillation rises to 1; the
    paper has none."""


@methods.register("dml")
class DML(Method):
    """Mutual learning: every peer is taught by each of the others.

    ``sum_i [CE(z_i, y) + w/(P-1) sum_{j != i} KL(j || i)]`` with peer j held constant.
    """

    Config = DMLConfig
    paper = "Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018"
    mixes_backbones = True

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z = outputs.logits
        w = ramp_up(progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, y),
            "kd": w * kl_from_others(z.detach(), z, self.config.temperature),
        }
