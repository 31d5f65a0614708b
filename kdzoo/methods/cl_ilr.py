"""CL-ILR, collaborative learning: heads on shared layers, taught by the consensus of the others."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from kdzoo.aggregators.base import AggregatorChoice
from kdzoo.backbones.backbone import Backbone
from kdzoo.component import named
from kdzoo.methods.base import DistillationConfig, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl, ramp_up
from kdzoo.peers.group import BranchedPeers
from kdzoo.registry import methods


class CLILRConfig(DistillationConfig):
    layout: Literal["branched"] = "branched"
    """One trunk with P branches; without a trunk there is no gradient to rescale."""
    aggregator: AggregatorChoice = named("leave_one_out")
    """What teaches the peers: the mean of all others."""


@methods.register("cl_ilr")
class CLILR(Method):
    """Collaborative heads whose gradient into the shared layers is averaged, not summed.

    ``sum_i [CE(z_i, y) + w KL(t_i || i)]`` with t_i the mean of the other peers, held constant. The
    gradient that the branches send into the trunk is divided by P (backpropagation rescaling).
    """

    Config = CLILRConfig
    paper = "Song, Chai. Collaborative Learning for Deep Neural Networks. NeurIPS 2018"

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> BranchedPeers:
        peers = len(backbones)
        return BranchedPeers(backbones[0], peers, seed, trunk_gradient=1 / peers)

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z, targets = outputs.logits, outputs.targets.detach()
        w = ramp_up(progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, y),
            "kd": w * kl(targets, z, self.config.temperature),
        }
