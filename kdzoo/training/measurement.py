"""What is found out about a student on a set of images: its figures, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kdzoo.training.calibration import Bin, CalibrationError
from kdzoo.training.metrics import Accuracy


@dataclass(frozen=True)
class ClassFigures:
    """How a student does on one class.

    Attributes:
        name: of the class.
        images: how many are of it.
        taken_for: how many are taken for it.
        recall: the share of its images that is recognised, in percent; None where it has none.
        precision: the share of those taken for it that are of it; None where there are none.
    """

    name: str
    images: int
    taken_for: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another."""

    label: str
    taken_for: str
    images: int
    share: float
    """Of all images of the class, in percent."""


@dataclass(frozen=True)
class Measurement:
    """A student on a set of images.

    Attributes:
        figures: ``top1``, ``top5`` and ``ece`` in percent, ``nll`` in nats, ``images``, and, where
            it is known, ``trained_on`` and ``looked_for``.
        classes: the names of the K classes.
        pairs: int64 [N, 3], the confusion matrix without its zeros, row by row: the class, the one
            that it is taken for, and how many images are.
        calibration: the points of the reliability diagram.
    """

    figures: dict[str, float]
    classes: tuple[str, ...]
    pairs: np.ndarray
    calibration: tuple[Bin, ...]

    def confusion_matrix(self) -> np.ndarray:
        """int64 [K, K]: of the class of the row, the images taken for that of the column."""
        matrix = np.zeros((len(self.classes),) * 2, dtype=np.int64)
        matrix[self.pairs[:, 0], self.pairs[:, 1]] = self.pairs[:, 2]
        return matrix

    @cached_property
    def by_class(self) -> list[ClassFigures]:
        """In the order of the student's outputs."""
        K = len(self.classes)
        labels, guesses, counts = self.pairs.T
        right = np.where(labels == guesses, counts, 0)
        images, taken_for, hits = (
            np.bincount(of, weights, K).astype(int).tolist()
            for of, weights in ((labels, counts), (guesses, counts), (labels, right))
        )
        return [
            ClassFigures(name, of_it, for_it, _percent(hit, of_it), _percent(hit, for_it))
            for name, of_it, for_it, hit in zip(self.classes, images, taken_for, hits, strict=True)
        ]

    @cached_property
    def confusions(self) -> list[Confusion]:
        """Every pair of classes of which one is ever taken for the other, the most images first."""
        wrong = self.pairs[self.pairs[:, 0] != self.pairs[:, 1]]
        order = np.argsort(-wrong[:, 2], kind="stable")
        return [
            Confusion(
                self.classes[label],
                self.classes[guess],
                count,
                100 * count / self.by_class[label].images,
            )
            for label, guess, count in wrong[order].tolist()
        ]


class Meter:
    """Adds up what a :class:`Measurement` is made of, batch by batch.

    Args:
        classes: the names of the K classes.
        device: where the logits are.
    """

    def __init__(self, classes: Sequence[str], device: torch.device) -> None:
        self._classes = tuple(classes)
        self._accuracy = Accuracy(1, device)
        self._calibration = CalibrationError(1, device)
        self._pairs: list[Tensor] = []

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Add a batch: logits [B, K] and labels [B]."""
        self._accuracy.update(logits[None], y)
        self._calibration.update(logits[None], y)
        # As Accuracy ranks them: of equal logits, another call might put another one first.
        guesses = logits.float().topk(min(5, len(self._classes)), dim=-1).indices[:, 0]
        self._pairs.append(torch.stack([y, guesses], dim=1))

    def compute(self) -> Measurement:
        """Of all that has been added."""
        figures = {
            **self._accuracy.compute()[0],
            "ece": self._calibration.compute()[0],
            "images": int(self._accuracy.count),
        }
        pairs, counts = torch.cat(self._pairs).unique(dim=0, return_counts=True)
        counted = torch.cat([pairs, counts[:, None]], dim=1).cpu().numpy()
        return Measurement(figures, self._classes, counted, self._calibration.bins()[0])


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
