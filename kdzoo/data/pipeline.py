"""What the trainer sees of the data, whichever pipeline stands behind it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from kdzoo.data.batches import BatchSampler
from kdzoo.data.splits import SplitName

Samples = tuple[Tensor, Tensor, Tensor]
"""x, y and index of a training batch, as :meth:`DataModule.train_batches` yields them."""


@dataclass(frozen=True)
class DataInfo:
    """The facts about a data set that a run and its student need.

    Attributes:
        name: the data set's.
        num_classes: K.
        input_size: (C, H, W) of a sample.
        mean: of each channel, for images in [0, 1]; what a sample is normalised with.
        std: of each channel, likewise.
        classes: the names of the K classes, in the order of their labels.
        train_size: training samples, those held out for validation not counted.
        val_size: validation samples; 0 where there are none.
        test_size: test samples.
        pixel_range: the values that became 0 and 255 in images of more than 8 bits a channel; None
            where all had 8.
        test_repeats: how many test samples are training samples too, of those that were looked for;
            None where that cannot be told.
    """

    name: str
    num_classes: int
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    train_size: int
    val_size: int
    test_size: int
    pixel_range: tuple[float, float] | None = None
    test_repeats: int | None = None

    def summary(self) -> str:
        """The classes and the sizes of the splits: ``2 classes (bee, cow), 120 + 60 images``."""
        names = ", ".join(self.classes[:3]) + (", ..." if self.classes[3:] else "")
        sizes = (self.train_size, self.val_size, self.test_size)
        counts = " + ".join(f"{size:,}" for size in sizes if size)
        return f"{self.num_classes} classes ({names}), {counts} images"


class ResidentBatches(Protocol):
    """Training batches that are made on the device, from memory that stays where it is.

    So the making of a batch can be a part of a captured step.
    """

    def begin(self, epoch: int) -> None:
        """An epoch begins: the memory is filled anew."""

    def batch(self, position: Tensor) -> Samples:
        """The batch at ``position`` [1], as :meth:`DataModule.train_batches` yields it."""


class DataModule(ABC):
    """Batches of one data set, for one process of a run.

    Attributes:
        info: facts about the data set.
        steps_per_epoch: training batches an epoch, the same on every process.
        shares: samples of each training batch on each process.
        skipped: why each image was left out that could not be read, as far as is known yet.
        notes: what people should know about how images are read, a line each.
    """

    def __init__(self, info: DataInfo, sampler: BatchSampler) -> None:
        self.info = info
        self.steps_per_epoch = sampler.steps
        self.shares = sampler.shares
        self.skipped: list[str] = []
        self.notes: list[str] = []

    @property
    @abstractmethod
    def description(self) -> str:
        """How the images get to the network, in a line for people."""

    @abstractmethod
    def train_batches(self, epoch: int, views: int = 1, start: int = 0) -> Iterator[Samples]:
        """This process's share of every training batch of an epoch.

        What comes depends on the seed and ``epoch`` alone. The last, smaller batch is dropped, so
        that shapes stay the same, unless the whole set is smaller than one batch.

        Args:
            epoch: counted from 0.
            views: how many augmentations of each sample to draw, V.
            start: how many batches of the epoch to leave out, which were trained on before.

        Yields:
            x: float32 [B, C, H, W], normalised; [V, B, C, H, W] for more than one view.
            y: int64 [B], or float32 [B, K] class probabilities under mixup and cutmix.
            index: int64 [B], the place of each in the training split; of two that are mixed, of the
                first.
        """

    def resident_batches(self, views: int = 1) -> ResidentBatches | None:
        """The same batches, where the host has no part in them; None where it has."""
        return None

    @abstractmethod
    def eval_batches(self, split: SplitName) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples of a split, in order and without augmentation; the last batch may be smaller.

        With several processes, each gets some of the same batches, and their shares in the order
        of their ranks are the split. Of fewer batches than processes, each gets all.

        Raises:
            UserError: the data set has no such split.
        """
