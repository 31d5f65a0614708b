"""The bare step: the same networks in ten lines of plain PyTorch, on one batch."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.networks import SHAPES, build, build_teachers
from benchmarks.speed.setting import Setting


class Bare:
    """Forward, the cross-entropy of each peer, backward and SGD."""

    def __init__(self, setting: Setting, classes: int) -> None:
        shape = SHAPES[setting.method]
        self.setting = setting
        to: dict[str, Any] = {"device": setting.device, "memory_format": torch.channels_last}
        self.networks = build(shape, setting.backbone, classes).to(**to)
        self.teachers = build_teachers(shape, setting.backbone, classes)
        if self.teachers is not None:
            self.teachers.to(**to)
        self.loss = torch.compile(self._loss) if setting.compiled else self._loss
        self.optimizer = torch.optim.SGD(
            self.networks.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        x = torch.randn(shape.views, setting.batch_size, 3, 32, 32)
        self.views = [view.to(**to) for view in x]
        self.y = torch.randint(classes, (setting.batch_size,), device=setting.device)

    def _loss(self, views: Sequence[Tensor], y: Tensor) -> Tensor:
        if self.teachers is not None:
            with torch.no_grad():
                self.teachers(views)
        _, said = self.networks(views)
        return torch.stack(
            [F.cross_entropy(one.logits, y.repeat(len(one.logits) // len(y))) for one in said]
        ).sum()

    def step(self) -> None:
        with self.setting.autocast():
            loss = self.loss(self.views, self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
