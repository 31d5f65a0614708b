"""Batches that hold several images of each of their classes, for losses that compare such."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kdzoo.data.batches import BatchSampler
from kdzoo.data.dataset import DatasetConfig
from kdzoo.errors import ConfigError
from kdzoo.seeding import stream


@dataclass(frozen=True, eq=False)
class PerClassSampler(BatchSampler):
    """The training batches of one process, in which the images of a class come in groups of m.

    An epoch takes each image once at most. In each class the order is random, and so is the order
    of all groups; what is left of a class after its last whole group waits for another epoch.
    Groups are spread over their batch, so that neighbours, which mixup mixes, are of two groups.

    Args:
        labels: the class of each sample.
        per_class: m, how many images a group has.

    Raises:
        ConfigError: batches are no multiple of m, or there are not m images of any class.
    """

    labels: np.ndarray = field(kw_only=True)
    per_class: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_multiple(self.batch_size, self.per_class)
        if not self.grouped:
            raise ConfigError(
                f"No class has the {self.per_class} training images that a batch is to hold of it.",
                ("dataset", "train_subset"),
            )

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each class."""
        return np.bincount(self.labels)

    @property
    def grouped(self) -> int:
        """Samples in whole groups."""
        return int((self.counts // self.per_class).sum()) * self.per_class

    @property
    def global_size(self) -> int:
        return min(self.grouped, self.batch_size)

    @property
    def steps(self) -> int:
        return self.grouped // self.global_size

    def order(self, epoch: int) -> np.ndarray:
        m, random = self.per_class, stream(self.seed, "order", epoch)
        mixed = random.permutation(self.samples)
        by_class = mixed[np.argsort(self.labels[mixed], kind="stable")]
        first = np.cumsum(self.counts) - self.counts
        rank = np.arange(self.samples) - np.repeat(first, self.counts)
        whole = np.repeat(self.counts // m * m, self.counts)
        groups = random.permutation(by_class[rank < whole].reshape(-1, m))
        batches = groups[: self.used // m].reshape(self.steps, -1, m)
        return batches.transpose(0, 2, 1).reshape(-1)

    def left_out(self) -> str | None:
        """The images that no epoch takes, in a line for people."""
        few = (self.counts > 0) & (self.counts < self.per_class)
        if not few.any():
            return None
        return (
            f"{int(self.counts[few].sum())} training images are never seen: their "
            f"{int(few.sum())} classes have fewer than the {self.per_class} images each that a "
            "batch holds of a class"
        )


def images_together(settings: DatasetConfig, needed: int, batch_size: int) -> int:
    """How many images of a class a batch holds together, by the data set's or the method's wish.

    Args:
        settings: of the data set.
        needed: what the method asks for at least.
        batch_size: samples of a batch, over all processes.

    Raises:
        ConfigError: the data set's are fewer than the method's, or batches are no multiple.
    """
    together = needed if settings.per_class is None else settings.per_class
    if together < needed:
        raise ConfigError(
            f"The method needs {needed} images of each class in a batch, not {together}.",
            ("dataset", "per_class"),
        )
    _check_multiple(batch_size, together)
    return together


def _check_multiple(batch_size: int, per_class: int) -> None:
    if batch_size % per_class:
        raise ConfigError(
            f"{batch_size} is no multiple of {per_class}, the images of a class that a batch holds "
            "together.",
            ("batch_size",),
        )
