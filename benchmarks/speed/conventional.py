"""A trainer as research code usually is, with every method's loss."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.speed.images import Decoded
from benchmarks.speed.loaders import loader
from benchmarks.speed.networks import SHAPES, build, build_teachers
from benchmarks.speed.objectives import OBJECTIVES
from benchmarks.speed.setting import Setting


class Conventional:
    """Float32, NCHW, a loop over peers, numbers fetched from the device in every step.

    Args:
        setting: its precision is not looked at.
        data: the images.
        folder: for the checkpoint of each epoch.
    """

    def __init__(self, setting: Setting, data: Decoded, folder: Path) -> None:
        self.setting, self.shape, self.folder = setting, SHAPES[setting.method], folder
        classes = len(data.splits.classes)
        self.networks = build(self.shape, setting.backbone, classes)
        self.teachers = build_teachers(self.shape, setting.backbone, classes)
        with torch.no_grad():
            example = self.networks([torch.zeros(2, 3, 32, 32)] * self.shape.views)
        self.objective = OBJECTIVES[setting.method](*example)
        if setting.method == "mbde":
            branches: Any = self.networks.branches
            objective: Any = self.objective
            objective.classifiers = [branch.fc.weight for branch in branches]
        for module in (self.networks, self.teachers, self.objective):
            if module is not None:
                module.to(setting.device)
        self.optimizer = torch.optim.SGD(
            [*self.networks.parameters(), *self.objective.parameters()],
            lr=0.1,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
        )
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, [150, 225], 0.1)
        sizes = setting.batch_size, setting.workers
        self.train_loader = loader(data.splits.train, self.shape.views, *sizes)
        self.test_loader = loader(data.splits.test, 0, *sizes)
        self.batches: Iterator = iter(())
        self.losses: list[float] = []
        self.hits: list[float] = []
        self.epochs = 0

    def step(self) -> None:
        """One step; the data loader is started again when it has come to its end."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.train_loader)
            batch = next(self.batches)
        self._train(*batch)

    def epoch(self) -> None:
        """All training images, an evaluation of every peer and a checkpoint."""
        self.networks.train()
        for views, y in self.train_loader:
            self._train(views, y)
        self.scheduler.step()
        self._evaluate()
        self.epochs += 1
        state = {
            "epoch": self.epochs,
            "networks": self.networks.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, self.folder / "checkpoint.pth")

    def _train(self, views: list[torch.Tensor], y: torch.Tensor) -> None:
        views = [view.to(self.setting.device) for view in views]
        y = y.to(self.setting.device)
        teachers = []
        if self.teachers is not None:
            with torch.no_grad():
                _, teachers = self.teachers(views)
        trunk, said = self.networks(views)
        loss = self.objective(trunk, said, teachers, y, self.epochs / 300)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.teachers is not None and self.shape.teachers == "peers":
            for mean, own in zip(
                self.teachers.parameters(), self.networks.parameters(), strict=True
            ):
                mean.data.mul_(0.999).add_(own.data, alpha=0.001)
        self.losses.append(loss.item())
        for one in said:
            self.hits.append((one.logits.argmax(1) == y).float().mean().item())

    def _evaluate(self) -> None:
        self.networks.eval()
        loss, hits = 0.0, [0] * (self.shape.peers + 1)
        with torch.no_grad():
            for views, y in self.test_loader:
                views = [view.to(self.setting.device) for view in views]
                y = y.to(self.setting.device)
                # every peer sees the same image
                _, said = self.networks(views * self.shape.views)
                ensemble = torch.stack([one.logits for one in said]).mean(0)
                for i, logits in enumerate([*(one.logits for one in said), ensemble]):
                    loss += F.cross_entropy(logits, y).item()
                    hits[i] += (logits.argmax(1) == y).sum().item()
        self.networks.train()
