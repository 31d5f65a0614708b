"""DKD, decoupled knowledge distillation: the target class and the others weigh each for itself."""

import torch
from torch import Tensor

from kdzoo.divergences.base import Divergence, target_class
from kdzoo.divergences.kl import kl
from kdzoo.divergences.others import others
from kdzoo.divergences.settings import DKDConfig
from kdzoo.registry import divergences


@divergences.register("dkd")
class DKD(Divergence):
    """KL in its two parts, of which each has a weight.

    ``alpha TCKD + beta NCKD``. TCKD is ``T^2 KL`` between the target class and all others together,
    NCKD is ``T^2 KL`` among the other classes. KL itself is TCKD + (1 - p_y) NCKD, with p_y what
    the teacher gives the target class.
    """

    Config = DKDConfig
    paper = "Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. CVPR 2022"

    def compare(self, teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
        T, target = self.temperature, target_class(y)
        binary = kl(two_classes(teacher, target, T), two_classes(student, target, T), T)
        among_others = kl(others(teacher, target), others(student, target), T)
        return self.config.alpha * binary + self.config.beta * among_others


def two_classes(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Logits [..., B, 2] of the target class and of all others together, at a temperature.

    Args:
        logits: [..., B, K].
        target: [B].
        temperature: T, at which the others are added up.
    """
    index = target.expand(logits.shape[:-1]).unsqueeze(-1)
    rest = others(logits, target).div(temperature).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logits.gather(-1, index), temperature * rest], dim=-1)
