"""On-the-fly native ensemble: the branches are taught by their own weighted sum."""

from typing import Annotated

from torch import Tensor

from kdzoo import registry
from kdzoo.component import Component, by_name, named
from kdzoo.methods.base import DistillationConfig, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl, ramp_up


class ONEConfig(DistillationConfig):
    aggregator: Annotated[Component, by_name(registry.aggregators, "gate")] = named("gate")
    """What weighs the peers: the gate on the trunk's features."""


@registry.methods.register("one")
class ONE(Method):
    """Branches and a learned ensemble of them, which teaches each branch.

    ``sum_i CE(z_i, y) + CE(z_e, y) + w sum_i KL(e || i)`` with the ensemble e held constant in
    the last term.
    """

    Config = ONEConfig
    paper = "Lan, Zhu, Gong. Knowledge Distillation by On-the-Fly Native Ensemble. NeurIPS 2018"
    trains_aggregator_through = frozenset({"ensemble"})

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z, z_e, targets = outputs.logits, outputs.ensemble, outputs.targets.detach()
        w = ramp_up(progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, y),
            "ensemble_ce": cross_entropy(z_e, y),
            "kd": w * kl(targets, z, self.config.temperature),
        }
