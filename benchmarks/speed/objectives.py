"""The loss of each method as research code usually has it: loops over peers, one term at a time."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.networks import Said


def kl(student: Tensor, teacher: Tensor, T: float = 3.0) -> Tensor:
    student, teacher = F.log_softmax(student / T, dim=1), F.softmax(teacher / T, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean") * T * T


def ramp_up(progress: float) -> float:
    return math.exp(-5 * (1 - min(progress / (80 / 300), 1)) ** 2)


class Objective(nn.Module):
    """The sum of the peers' cross-entropies, and what a method adds to it.

    Args:
        said: of a batch of two, to take shapes from.
        trunk: the trunk's features, likewise.
    """

    def __init__(self, trunk: Tensor, said: Sequence[Said]) -> None:
        super().__init__()

    def forward(
        self,
        trunk: Tensor,
        said: list[Said],
        teachers: list[Said],
        y: Tensor,
        progress: float,
    ) -> Tensor:
        loss = trunk.new_zeros(())
        for one in said:
            loss = loss + F.cross_entropy(one.logits, y)
        return loss + self.distillation(trunk, said, teachers, y, ramp_up(progress))

    def distillation(
        self, trunk: Tensor, said: list[Said], teachers: list[Said], y: Tensor, w: float
    ) -> Tensor | float:
        return 0.0


class DML(Objective):
    def distillation(self, trunk, said, teachers, y, w):
        loss: Any = 0.0
        for i, one in enumerate(said):
            for j, other in enumerate(said):
                if i != j:
                    loss = loss + kl(one.logits, other.logits.detach(), T=1) / (len(said) - 1)
        return loss


class CLILR(Objective):
    def distillation(self, trunk, said, teachers, y, w):
        if trunk.requires_grad:
            trunk.register_hook(lambda gradient: gradient / len(said))
        loss: Any = 0.0
        for i, one in enumerate(said):
            others = [other.logits for j, other in enumerate(said) if i != j]
            loss = loss + w * kl(one.logits, torch.stack(others).mean(0).detach())
        return loss


class ONE(Objective):
    def __init__(self, trunk, said):
        super().__init__(trunk, said)
        self.fc = nn.Linear(trunk.shape[1], len(said))
        self.bn: nn.Module = nn.BatchNorm1d(len(said))

    def weights(self, trunk, said):
        x = F.adaptive_avg_pool2d(trunk, 1).view(trunk.size(0), -1)
        return F.softmax(F.relu(self.bn(self.fc(x))), dim=1)

    def distillation(self, trunk, said, teachers, y, w):
        weights = self.weights(trunk, said)
        ensemble: Any = 0.0
        for i, one in enumerate(said):
            ensemble = ensemble + weights[:, i : i + 1] * one.logits
        loss = F.cross_entropy(ensemble, y)
        for one in said:
            loss = loss + w * kl(one.logits, ensemble.detach())
        return loss


class MBDE(ONE):
    def __init__(self, trunk, said):
        Objective.__init__(self, trunk, said)
        width = said[0].features.shape[1]
        self.conv = nn.Conv2d(width * len(said), width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.fc1 = nn.Linear(width, max(width // 4, len(said)))
        self.fc2 = nn.Linear(self.fc1.out_features, len(said))
        self.classifiers: list[Tensor] = []

    def weights(self, trunk, said):
        x = torch.cat([one.features for one in said], dim=1)
        x = F.relu(self.bn(self.conv(x)))
        x = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        return F.softmax(self.fc2(F.relu(self.fc1(x))), dim=1)

    def distillation(self, trunk, said, teachers, y, w):
        loss = super().distillation(trunk, said, teachers, y, w)
        for i, one in enumerate(self.classifiers):
            for other in self.classifiers[i + 1 :]:
                loss = loss + 5e-8 * torch.norm(one.t() @ other)
        return loss


class OKDDip(Objective):
    def __init__(self, trunk, said):
        super().__init__(trunk, said)
        width = said[0].embedding.shape[1]
        self.query = nn.Linear(width, width // 8, bias=False)
        self.key = nn.Linear(width, width // 8, bias=False)

    def distillation(self, trunk, said, teachers, y, w):
        *auxiliary, leader = said
        logits = torch.stack([one.logits for one in auxiliary], dim=1)
        h = torch.stack([one.embedding for one in auxiliary], dim=1)
        attention = F.softmax(torch.bmm(self.query(h), self.key(h).transpose(1, 2)), dim=-1)
        targets = torch.bmm(attention, logits)
        loss = w * kl(leader.logits, logits.mean(1))
        for i, one in enumerate(auxiliary):
            loss = loss + w * kl(one.logits, targets[:, i])
        return loss


class FFL(Objective):
    def __init__(self, trunk, said):
        super().__init__(trunk, said)
        width, wide = said[0].features.shape[1], said[0].features.shape[1] * len(said)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.pointwise = nn.Conv2d(wide, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, said[0].logits.shape[1])

    def distillation(self, trunk, said, teachers, y, w):
        x = torch.cat([one.features for one in said], dim=1)
        x = F.relu(self.bn1(self.depthwise(x)))
        x = F.relu(self.bn2(self.pointwise(x)))
        fused = self.fc(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))
        mean = torch.stack([one.logits for one in said]).mean(0)
        loss = F.cross_entropy(fused, y) + w * kl(fused, mean.detach())
        for one in said:
            loss = loss + w * kl(one.logits, fused.detach())
        return loss


class KDCL(Objective):
    def distillation(self, trunk, said, teachers, y, w):
        true = [one.logits.detach().gather(1, y[:, None]) for one in said]
        shifted = [one.logits.detach() - own for one, own in zip(said, true, strict=True)]
        target = torch.stack(shifted).min(0)[0]
        loss: Any = 0.0
        for one in said:
            loss = loss + kl(one.logits, target, T=2)
        return loss


class KD(Objective):
    def forward(self, trunk, said, teachers, y, progress):
        student, teacher = said[0].logits, teachers[0].logits
        return 0.1 * F.cross_entropy(student, y) + 0.9 * kl(student, teacher, T=4)


class PCL(Objective):
    def __init__(self, trunk, said):
        super().__init__(trunk, said)
        self.fc = nn.Linear(sum(one.embedding.shape[1] for one in said), said[0].logits.shape[1])

    def distillation(self, trunk, said, teachers, y, w):
        ensemble = self.fc(torch.cat([one.embedding for one in said], dim=1))
        loss = F.cross_entropy(ensemble, y)
        for i, one in enumerate(said):
            loss = loss + w * kl(one.logits, ensemble.detach())
            for j, mean in enumerate(teachers):
                if i != j:
                    loss = loss + w * kl(one.logits, mean.logits) / (len(said) - 1)
        return loss


class BYOT(Objective):
    def forward(self, trunk, said, teachers, y, progress):
        *exits, deepest = said
        loss = 0.9 * F.cross_entropy(deepest.logits, y)
        for one in exits:
            loss = loss + 0.9 * F.cross_entropy(one.logits, y)
            loss = loss + 0.1 * kl(one.logits, deepest.logits.detach())
            distance = (one.embedding - deepest.embedding.detach()).pow(2).sum() / len(y)
            loss = loss + 1.28e-4 * distance
        return loss


OBJECTIVES: dict[str, type[Objective]] = {
    "independent": Objective,
    "dml": DML,
    "kdcl": KDCL,
    "kd": KD,
    "cl_ilr": CLILR,
    "one": ONE,
    "okddip": OKDDip,
    "ffl": FFL,
    "mbde": MBDE,
    "pcl": PCL,
    "byot": BYOT,
}
"""Of the methods that the conventional trainer has; the others are measured beside bare alone."""
