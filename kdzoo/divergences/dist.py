"""DIST: a student has the teacher's relations, between classes and between samples."""

import torch
from torch import Tensor

from kdzoo.divergences.base import Divergence
from kdzoo.divergences.settings import DISTConfig
from kdzoo.registry import divergences

EPSILON = 1e-8


@divergences.register("dist")
class DIST(Divergence):
    """How far probabilities are from a linear relation, which is all that is asked for.

    ``T^2 [beta mean_b (1 - r(p_b, q_b)) + gamma mean_k (1 - r(p_k, q_k))]``: r is Pearson's
    correlation, of the rows (a sample's classes) and of the columns (a class's samples) of the
    softened probabilities p, q [B, K].
    """

    Config = DISTConfig
    paper = (
        "Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. NeurIPS 2022. "
        "arXiv:2205.10536"
    )

    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        p = teacher.div(self.temperature).softmax(dim=-1)
        q = student.div(self.temperature).softmax(dim=-1)
        between_classes = (1 - correlation(p, q, dim=-1)).mean(dim=-1).sum()
        between_samples = (1 - correlation(p, q, dim=-2)).mean(dim=-1).sum()
        distance = self.config.beta * between_classes + self.config.gamma * between_samples
        return self.temperature**2 * distance


def correlation(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along a dimension; 0 where one of the two does not vary."""
    one = one - one.mean(dim=dim, keepdim=True)
    other = other - other.mean(dim=dim, keepdim=True)
    return torch.cosine_similarity(one, other, dim=dim, eps=EPSILON)
