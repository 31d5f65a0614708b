"""The interface of a divergence: how far a student's distribution is from its teacher's."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.component import ComponentConfig

EPSILON = 1e-7


class Divergence(nn.Module, ABC):
    """Compares what students say with what they are taught.

    Gradients flow into both arguments, unless a class says otherwise: detach the one that is to be
    held constant.

    Args:
        config: the settings, an instance of the class's ``Config``.
        temperature: T > 0, which softens both distributions.
        standardize: whether logits are standardised first (:func:`standardized`).
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    paper: ClassVar[str] = ""
    """Authors, title, venue and year of the source."""

    def __init__(self, config: Any, temperature: float, standardize: bool = False) -> None:
        super().__init__()
        self.config = config
        self.temperature = temperature
        self.standardize = standardize

    def forward(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        """The divergence, a scalar: mean over the batch, summed over peers.

        Args:
            teacher: target logits [B, K] or [P, B, K].
            student: logits of the same shape.
            y: [B] class indices, or [B, K] class probabilities.
        """
        if self.standardize:
            teacher, student = standardized(teacher), standardized(student)
        return self.compare(teacher, student, y)

    @abstractmethod
    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        """As :meth:`forward`, whose logits may be standardised."""

    def from_others(self, teachers: Tensor, students: Tensor, y: Tensor) -> Tensor:
        """``sum_i 1/(P-1) sum_{j != i} D(teacher_j || student_i)``: every student is taught by the
        teachers of all the others.

        Args:
            teachers: [P, B, K] logits, P >= 2; detach them to hold them constant.
            students: [P, B, K] logits.
            y: [B] class indices, or [B, K] class probabilities.
        """
        peers = len(students)
        shifted = torch.cat([teachers.roll(shift, dims=0) for shift in range(1, peers)])
        return self(shifted, students.repeat(peers - 1, 1, 1), y) / (peers - 1)

    def from_mean(self, teachers: Tensor, shares: Tensor, students: Tensor, y: Tensor) -> Tensor:
        """As :meth:`forward`, taught by the weighted mean of what several teachers predict at T.

        With ``standardize``, it is what they predict by their standardised logits. A divergence
        that reads its teacher at another temperature than T has to define this anew.

        Args:
            teachers: [M, B, K] logits, held constant.
            shares: [M], of each in the mean; they add up to 1.
            students: [P, B, K] logits.
            y: [B] class indices, or [B, K] class probabilities.
        """
        if self.standardize:
            teachers, students = standardized(teachers), standardized(students)
        mean = mean_prediction(teachers, shares, self.temperature)
        return self.compare(mean.expand_as(students), students, y)


def mean_prediction(logits: Tensor, shares: Tensor, temperature: float) -> Tensor:
    """Logits [B, K] whose softmax at T is the weighted mean of several networks' softmax at T.

    The arithmetic mean of the predictions, one of the two that Hinton et al. (2015) name.

    Args:
        logits: of the networks, [M, B, K].
        shares: of each in the mean, [M]; they add up to 1.
        temperature: T.
    """
    softened = F.log_softmax(logits / temperature, dim=-1)
    return temperature * (softened + shares.log()[:, None, None]).logsumexp(dim=0)


def standardized(logits: Tensor) -> Tensor:
    """``(z - mean_k z) / (1e-7 + std_k z)``: logits [..., K] of one mean and one deviation.

    Sun, Ren, Li, Wang, Cao. Logit Standardization in Knowledge Distillation. CVPR 2024. The
    deviation is that of a sample, over K-1, as in the authors' code.
    """
    mean, std = logits.mean(dim=-1, keepdim=True), logits.std(dim=-1, keepdim=True)
    return (logits - mean) / (EPSILON + std)


def target_class(y: Tensor) -> Tensor:
    """[B] class indices; of class probabilities [B, K], those of the most probable classes."""
    return y if y.dim() == 1 else y.argmax(dim=1)
