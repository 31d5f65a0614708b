"""CL-ILR, collaborative learning: heads on shared layers, taught by the consensus of the others."""

from collections.abc import Sequence

from torch import Tensor

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import CLILRConfig
from kdzoo.peers.group import BranchedPeers
from kdzoo.registry import methods


@methods.register("cl_ilr")
class CLILR(Method):
    """Collaborative heads whose gradient into the shared layers is averaged, not summed.

    ``sum_i [CE(z_i, y) + w KL(t_i || i)]`` with t_i the mean of the other peers, held constant. The
    gradient that the branches send into the trunk is divided by P (backpropagation rescaling).
    """

    Config = CLILRConfig
    paper = "Song, Chai. Collaborative Learning for Deep Neural Networks. NeurIPS 2018"

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> BranchedPeers:
        return BranchedPeers(backbones, seed, 1 / len(backbones), self.watched)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, targets = outputs.logits, outputs.targets.detach()
        w = ramp_up(batch.progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": w * self.divergence(targets, z, batch.y),
        }
