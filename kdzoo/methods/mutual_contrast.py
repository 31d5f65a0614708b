"""Mutual contrast: embeddings of several networks compare the images of a batch, and teach so."""

from collections.abc import Sequence
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.layers import initialise
from kdzoo.divergences.kl import kl


class MutualContrast(nn.Module):
    """What N embeddings of a batch make of its images, each and in pairs across networks.

    Yang, An, Cai, Xu. Mutual Contrastive Learning for Visual Representation Learning. AAAI 2022.
    With S_nm the cosines of embedding n with m over tau, and pairs (n, m) of different networks in
    either order: VCL contrasts the classes in each S_nn, ICL in the S_nm of each pair; the soft
    terms are the sums over the pairs of ``KL(S_mm || S_nn)`` and ``KL(S_mn || S_nm)``.

    Args:
        networks: the network that each embedding is of, N numbers.
        tau: what cosines are divided by.
        temperature: T of the soft terms.
    """

    first: Tensor
    second: Tensor

    def __init__(self, networks: Sequence[int], tau: float, temperature: float) -> None:
        super().__init__()
        self.tau, self.temperature = tau, temperature
        ordered = permutations(range(len(networks)), 2)
        pairs = torch.tensor([(n, m) for n, m in ordered if networks[n] != networks[m]])
        self.register_buffer("first", pairs[:, 0], persistent=False)
        self.register_buffer("second", pairs[:, 1], persistent=False)

    def forward(
        self, projected: Sequence[Tensor], labels: Tensor, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The terms ``vcl``, ``icl``, ``soft_vcl`` and ``soft_icl``.

        Args:
            projected: N tensors [B, D], which need not be normalised.
            labels: [B] class indices.
            weights: [N, N, B], how much each pair counts for each image, where that is not 1; in
                VCL, what an embedding makes of an image counts by the mean of its pairs.
        """
        e = torch.stack([F.normalize(each, dim=1) for each in projected])
        similar = torch.einsum("iad,jbd->ijab", e, e) / self.tau
        own = similar.diagonal(dim1=0, dim2=1).movedim(-1, 0)
        across, back = similar[self.first, self.second], similar[self.second, self.first]
        T = self.temperature
        if weights is None:
            return {
                "vcl": contrast(own, labels),
                "icl": contrast(across, labels),
                "soft_vcl": kl(own[self.second].detach(), own[self.first], T),
                "soft_icl": kl(back.detach(), across, T),
            }
        of_pair = weights[self.first, self.second]
        of_first = of_pair.unflatten(0, (len(own), -1)).mean(dim=1)
        return {
            "vcl": contrast(own, labels, of_first),
            "icl": contrast(across, labels, of_pair),
            "soft_vcl": weighted_kl(own[self.second].detach(), own[self.first], T, of_pair),
            "soft_icl": weighted_kl(back.detach(), across, T, of_pair),
        }


def projection(width: int, hidden: int, outputs: int) -> nn.Module:
    """The head that an embedding [B, width] goes through: linear, ReLU, linear."""
    head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    initialise(head)
    return head


def contrast(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """How well each image of a batch finds the others of its class, summed over ``logits``' first.

    ``- mean_a mean_{b in class of a} log softmax_{b != a} logits[a]``: supervised contrastive loss
    (Khosla et al., NeurIPS 2020). Images that are alone in their class do not count.

    Args:
        logits: [S, B, B], of S comparisons.
        labels: [B] class indices.
        weights: [S, B], what the loss of each image a is multiplied by, where that is not 1.
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels == labels[:, None]) & ~own
    log_p = logits.masked_fill(own, torch.finfo(logits.dtype).min).log_softmax(dim=-1)
    found = log_p.masked_fill(~positive, 0).sum(dim=-1) / positive.sum(dim=-1).clamp(min=1)
    if weights is not None:
        found = found * weights
    return -found.sum() / positive.any(dim=-1).sum().clamp(min=1)


def weighted_kl(first: Tensor, second: Tensor, temperature: float, weights: Tensor) -> Tensor:
    """As :func:`kdzoo.divergences.kl.kl` of [S, B, B], that of each row times a weight [S, B]."""
    divergence = F.kl_div(
        F.log_softmax(second / temperature, dim=-1),
        F.log_softmax(first / temperature, dim=-1),
        reduction="none",
        log_target=True,
    )
    return (divergence.sum(dim=-1) * weights).sum() * (temperature**2 / second.shape[-2])
