"""ONE, on-the-fly native ensemble: the branches are taught by their own weighted sum."""

from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import ONEConfig
from kdzoo.registry import methods


@methods.register("one")
class ONE(Method):
    """Branches and a learned ensemble of them, which teaches each branch.

    ``sum_i CE(z_i, y) + CE(z_e, y) + w sum_i KL(e || i)`` with the ensemble e held constant in
    the last term.
    """

    Config = ONEConfig
    paper = "Lan, Zhu, Gong. Knowledge Distillation by On-the-Fly Native Ensemble. NeurIPS 2018"
    trains_aggregator_through = frozenset({"ensemble"})

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, z_e, targets = outputs.logits, outputs.ensemble, outputs.targets.detach()
        w = ramp_up(batch.progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, batch.y),
            "ensemble_ce": cross_entropy(z_e, batch.y),
            "kd": w * self.divergence(targets, z, batch.y),
        }
