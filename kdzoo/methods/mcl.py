"""MCL, mutual contrastive learning: peers compare their embeddings, within and across networks."""

from torch import Tensor, nn

from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.mutual_contrast import MutualContrast, projection
from kdzoo.methods.settings import MCLConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods


@methods.register("mcl")
class MCL(Method):
    """Peers that pull the images of a class together, in their own embeddings and across theirs.

    ``sum_i CE(z_i, y) + alpha (VCL + ICL) + gamma (softVCL + softICL)``. With S_ij the cosines of
    peer i's embeddings with peer j's over tau: VCL contrasts the classes in each S_ii, ICL in each
    S_ij of two peers; the soft terms are ``KL(S_jj || S_ii)`` and ``KL(S_ji || S_ij)``.
    """

    Config = MCLConfig
    paper = (
        "Yang, An, Cai, Xu. Mutual Contrastive Learning for Visual Representation Learning. "
        "AAAI 2022. arXiv:2104.12565"
    )
    heads_of_peers = ("projections",)
    mixes_backbones = True

    @classmethod
    def images_per_class(cls, config: MCLConfig) -> int:
        return config.per_class

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        widths = [embedding.shape[1] for embedding in example.embeddings]
        out = self.config.width
        self.projections = nn.ModuleList(projection(width, out, out) for width in widths)
        self.mutual_contrast = MutualContrast(
            range(len(widths)), self.config.tau, self.config.temperature
        )

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha, gamma = outputs.logits, self.config.alpha, self.config.gamma
        heads = zip(self.projections, outputs.embeddings, strict=True)
        projected = [project(h.to(z.dtype)) for project, h in heads]
        found = self.mutual_contrast(projected, target_class(batch.y))
        terms = {
            "ce": cross_entropy(z, batch.y),
            "vcl": alpha * found["vcl"],
            "icl": alpha * found["icl"],
            "soft_vcl": gamma * found["soft_vcl"],
            "soft_icl": gamma * found["soft_icl"],
        }
        if self.config.logits:
            terms["kd"] = self.divergence(outputs.targets.detach(), z, batch.y)
        return terms
