"""MCL, mutual contrastive learning: peers compare their embeddings, within and across networks."""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.layers import initialise
from kdzoo.divergences.base import target_class
from kdzoo.divergences.kl import kl
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
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

    first: Tensor
    second: Tensor

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        widths = [embedding.shape[1] for embedding in example.embeddings]
        self.projections = nn.ModuleList(projection(width, self.config.width) for width in widths)
        pairs = torch.tensor(list(permutations(range(len(widths)), 2)))
        self.register_buffer("first", pairs[:, 0], persistent=False)
        self.register_buffer("second", pairs[:, 1], persistent=False)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha, gamma = outputs.logits, self.config.alpha, self.config.gamma
        similar = self.similarities(outputs) / self.config.tau
        own = similar.diagonal(dim1=0, dim2=1).movedim(-1, 0)
        across, back = similar[self.first, self.second], similar[self.second, self.first]
        labels, T = target_class(batch.y), self.config.temperature
        terms = {
            "ce": cross_entropy(z, batch.y),
            "vcl": alpha * contrast(own, labels),
            "icl": alpha * contrast(across, labels),
            "soft_vcl": gamma * kl(own[self.second].detach(), own[self.first], T),
            "soft_icl": gamma * kl(back.detach(), across, T),
        }
        if self.config.logits:
            terms["kd"] = self.divergence(outputs.targets.detach(), z, batch.y)
        return terms

    def similarities(self, outputs: MethodOutputs) -> Tensor:
        """[P, P, B, B]: the cosines of peer i's embeddings of the batch with peer j's."""
        pairs = zip(self.projections, outputs.embeddings, strict=True)
        projected = [
            F.normalize(project(h.to(outputs.logits.dtype)), dim=1) for project, h in pairs
        ]
        e = torch.stack(projected)
        return torch.einsum("iad,jbd->ijab", e, e)


def projection(width: int, projected: int) -> nn.Module:
    """The head that an embedding [B, D] goes through before it is compared."""
    head = nn.Sequential(nn.Linear(width, projected), nn.ReLU(), nn.Linear(projected, projected))
    initialise(head)
    return head


def contrast(logits: Tensor, labels: Tensor) -> Tensor:
    """How well each image of a batch finds the others of its class, summed over ``logits``' first.

    ``- mean_a mean_{b in class of a} log softmax_{b != a} logits[a]``: supervised contrastive loss
    (Khosla et al., NeurIPS 2020). Images that are alone in their class do not count.

    Args:
        logits: [S, B, B], of S comparisons.
        labels: [B] class indices.
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels == labels[:, None]) & ~own
    log_p = logits.masked_fill(own, torch.finfo(logits.dtype).min).log_softmax(dim=-1)
    found = log_p.masked_fill(~positive, 0).sum(dim=-1) / positive.sum(dim=-1).clamp(min=1)
    return -found.sum() / positive.any(dim=-1).sum().clamp(min=1)
