"""The Jensen-Shannon divergence, which does not tell teacher and student apart."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.divergences.base import Divergence
from kdzoo.registry import divergences


@divergences.register("js")
class JS(Divergence):
    """The mean divergence of both distributions from their mean.

    ``T^2 [KL(p || m) + KL(q || m)] / 2`` with p, q the softened distributions of teacher and
    student, and ``m = (p + q) / 2``.
    """

    paper = "Lin. Divergence Measures Based on the Shannon Entropy. IEEE Trans. Inf. Theory 1991"

    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        both = torch.stack([teacher, student]).div(self.temperature).log_softmax(dim=-1)
        mean = both.logsumexp(dim=0, keepdim=True) - math.log(2)
        divergence = F.kl_div(mean.expand_as(both), both, reduction="sum", log_target=True)
        return divergence * (self.temperature**2 / (2 * student.shape[-2]))
