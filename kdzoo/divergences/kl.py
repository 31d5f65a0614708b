"""The Kullback-Leibler divergence between softened distributions, what distillation began with."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.divergences.base import Divergence
from kdzoo.registry import divergences


@divergences.register("kl")
class KL(Divergence):
    """From the teacher's distribution to the student's.

    ``T^2 KL(softmax(t / T) || softmax(s / T))``, with the factor that keeps gradients comparable
    across temperatures.
    """

    paper = (
        "Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. "
        "arXiv:1503.02531"
    )

    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        return kl(teacher, student, self.temperature)


@divergences.register("reverse_kl")
class ReverseKL(Divergence):
    """From the student's distribution to the teacher's: it may leave out what the teacher says.

    ``T^2 KL(softmax(s / T) || softmax(t / T))``.
    """

    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        return kl(student, teacher, self.temperature)


def kl(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(first / T) || softmax(second / T))``: mean over the batch, summed over
    peers; logits [B, K] or [P, B, K].
    """
    divergence = F.kl_div(
        F.log_softmax(second / temperature, dim=-1),
        F.log_softmax(first / temperature, dim=-1),
        reduction="sum",
        log_target=True,
    )
    return divergence * (temperature**2 / second.shape[-2])
