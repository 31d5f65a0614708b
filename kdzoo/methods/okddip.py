"""OKDDip, online distillation with diverse peers: targets by attention, and a group leader."""

from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import OKDDipConfig
from kdzoo.registry import methods


@methods.register("okddip")
class OKDDip(Method):
    """Auxiliary peers with targets of their own by attention, and a leader taught by them all.

    ``sum_i CE(z_i, y) + w [sum_a KL(t_a || a) + KL(m || leader)]``: i runs over all peers, a over
    the auxiliary ones, and m is the mean of their logits. The gradient flows through t and m.
    """

    Config = OKDDipConfig
    paper = (
        "Chen, Mei, Wang, Feng, Chen. Online Knowledge Distillation with Diverse Peers. AAAI 2020. "
        "arXiv:1912.00350"
    )
    leaders = 1
    trains_aggregator_through = frozenset({"targets", "ensemble"})

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, targets = outputs.logits, outputs.targets
        w = ramp_up(batch.progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": w * self.divergence(targets, z, batch.y),
        }
