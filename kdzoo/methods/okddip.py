"""OKDDip, online distillation with diverse peers: targets by attention, and a group leader."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdzoo.aggregators.base import AggregatorChoice
from kdzoo.component import named
from kdzoo.methods.base import DistillationConfig, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl, ramp_up
from kdzoo.registry import methods


class OKDDipConfig(DistillationConfig):
    peers: Annotated[int, Field(ge=3)] = 4
    """P, the leader included: P-1 auxiliary peers and, the last, one group leader."""
    aggregator: AggregatorChoice = named("attention")
    """What gives each auxiliary peer its targets: attention over the auxiliary peers."""


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

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z, targets = outputs.logits, outputs.targets
        w = ramp_up(progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, y),
            "kd": w * kl(targets, z, self.config.temperature),
        }
