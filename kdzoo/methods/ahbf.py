"""AHBF-OKD, adaptive hierarchy-branch fusion: ever deeper branches teach the shallowest."""

from collections.abc import Sequence

from torch import Tensor

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import AHBFConfig
from kdzoo.peers.group import BranchedPeers
from kdzoo.registry import methods


@methods.register("ahbf")
class AHBF(Method):
    """Branches of growing depth: an ensemble of each and those before it teaches both.

    ``sum_i CE(z_i, y) + sum_{i > 1} CE(e_i, y) + w c sum_{i > 1} [lambda_1 (KL(e_i || z_i) +
    KL(e_i || e_{i-1})) + lambda_2 KL(z_i || e_{i-1})]`` with e_1 = z_1 and e_i the ensemble of
    branch i and e_{i-1}. Nothing is held constant. The first branch, which is the backbone as it
    is, is deployed.
    """

    Config = AHBFConfig
    paper = (
        "Gong, Lin, Zhang, Shen, Li, Qiao, Ren, Li, Yu, Ma. Adaptive Hierarchy-Branch Fusion for "
        "Online Knowledge Distillation. AAAI 2023"
    )
    tells_peers_apart = True
    trains_aggregator_through = frozenset({"targets", "ensemble"})

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> BranchedPeers:
        step = self.config.extra_blocks
        deeper = [backbone.deeper(step * i) for i, backbone in enumerate(backbones)]
        return BranchedPeers(deeper, seed, stages=self.watched)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, e, y = outputs.logits, outputs.targets, batch.y
        weight = ramp_up(batch.progress, self.config.ramp_up) * self.config.weight
        to_peers = self.divergence(e[1:], z[1:], y) + self.divergence(e[1:], e[:-1], y)
        return {
            "ce": cross_entropy(z, y),
            "ensemble_ce": cross_entropy(e[1:], y),
            "kd": weight * self.config.ensemble_weight * to_peers,
            "branch_kd": weight * self.config.branch_weight * self.divergence(z[1:], e[:-1], y),
        }
