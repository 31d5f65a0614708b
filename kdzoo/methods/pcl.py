"""PCL, peer collaborative learning: a feature ensemble and averaged (EMA) peers teach each peer."""

from dataclasses import replace

from torch import Tensor, nn

from kdzoo.methods.averages import Averaged
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import PCLConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods


@methods.register("pcl")
class PCL(Method):
    """Peers taught by a classifier on all their features and by the averaged weights of the others.

    ``sum_i CE(z_i, y) + CE(z_e, y) + w sum_i [KL(e || i) + 1/(P-1) sum_{j != i} KL(m_j || i)]``: e
    is the ensemble, m_j the temporal mean model of peer j, and both are held constant in the KL
    terms. Each peer sees a view of its own of every sample. The first mean model is deployed.
    """

    Config = PCLConfig
    paper = (
        "Wu, Gong. Peer Collaborative Learning for Online Knowledge Distillation. AAAI 2021. "
        "arXiv:2006.04147"
    )
    trains_aggregator_through = frozenset({"ensemble"})

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        self.mean_peers = Averaged(self.peers, self.config.decay)

    @property
    def views(self) -> int:
        return self.config.peers

    def outputs(self, x: Tensor) -> MethodOutputs:
        teachers = self.mean_peers(x).logits
        return replace(super().outputs(x), teachers=teachers)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, z_e, targets = outputs.logits, outputs.ensemble, outputs.targets.detach()
        w = ramp_up(batch.progress, self.config.ramp_up)
        return {
            "ce": cross_entropy(z, batch.y),
            "ensemble_ce": cross_entropy(z_e, batch.y),
            "kd": w * self.divergence(targets, z, batch.y),
            "mean_kd": w * self.by_means(outputs.teachers, z, batch),
        }

    def by_means(self, m: Tensor, z: Tensor, batch: Batch) -> Tensor:
        """How the mean models teach: each of them all peers but its own.

        Args:
            m: [P, B, K], logits of the mean models.
            z: [P, B, K], of the peers.
            batch: that they are of.
        """
        return self.divergence.from_others(m, z, batch.y)

    def predict(self, outputs: MethodOutputs) -> dict[str, Tensor]:
        return {**super().predict(outputs), "student": outputs.teachers[self.student_peer]}

    def student(self) -> nn.Module:
        return self.mean_peers.module.network(self.student_peer)

    def after_step(self) -> None:
        self.mean_peers.update(self.peers)
