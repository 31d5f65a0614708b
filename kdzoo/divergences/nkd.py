"""NKD, normalised knowledge distillation: the target class, and the others on their own."""

import torch
from torch import Tensor

from kdzoo.divergences.base import Divergence, target_class
from kdzoo.divergences.others import others
from kdzoo.divergences.settings import NKDConfig
from kdzoo.registry import divergences


@divergences.register("nkd")
class NKD(Divergence):
    """A soft label for the target class, and cross-entropy among the others.

    ``- t_y log s_y - gamma T^2 sum_{k != y} t'_k log s'_k``: t_y, s_y are the probabilities of the
    target class among all at temperature 1; t', s' those of the others among themselves at T. The
    teacher is held constant, and the least value is not 0.
    """

    Config = NKDConfig
    paper = (
        "Yang, Zeng, Li, Zhang, Yuan, Li. From Knowledge Distillation to Self-Knowledge "
        "Distillation: A Unified Approach with Normalized Loss and Customized Soft Labels. "
        "ICCV 2023. arXiv:2303.13005"
    )

    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        teacher, T, target = teacher.detach(), self.temperature, target_class(y)
        index = target.expand(student.shape[:-1]).unsqueeze(-1)
        t, log_s = teacher.softmax(dim=-1), student.log_softmax(dim=-1)
        of_target = t.gather(-1, index) * log_s.gather(-1, index)
        t_others = others(teacher, target).div(T).softmax(dim=-1)
        log_s_others = others(student, target).div(T).log_softmax(dim=-1)
        of_others = t_others * log_s_others
        total = of_target.sum() + self.config.gamma * T**2 * of_others.sum()
        return -total / student.shape[-2]

    def from_mean(self, teachers: Tensor, shares: Tensor, students: Tensor, y: Tensor) -> Tensor:
        """Taught by the means of t_y, at temperature 1, and of t', at T.

        No logits have both, and the divergence is linear in both.
        """
        each = [self(teacher.expand_as(students), students, y) for teacher in teachers]
        return (shares * torch.stack(each)).sum()
