"""Batches in which the batch before comes once more, for losses that compare one with the next."""

from dataclasses import dataclass

import numpy as np

from kdzoo.data.batches import BatchSampler
from kdzoo.data.dataset import DatasetConfig
from kdzoo.errors import ConfigError


@dataclass(frozen=True)
class LastBatchSampler(BatchSampler):
    """The training batches of one process, each new sample followed by one of the batch before.

    So a batch holds ``2 batch_size`` samples: those at even places are new, those at odd places
    were at the even places of the batch before, in the same order, and are augmented anew. The
    first batch of an epoch repeats the last one of the epoch before; the first of all has nothing
    to repeat, and holds each of its own samples twice.
    """

    @property
    def new(self) -> int:
        """Samples of a batch that are new, all processes together."""
        return min(self.samples, self.batch_size)

    @property
    def global_size(self) -> int:
        return 2 * self.new

    @property
    def steps(self) -> int:
        return self.samples // self.new

    def order(self, epoch: int) -> np.ndarray:
        new = self._new(epoch)
        before = new[:1] if epoch == 0 else self._new(epoch - 1)[-1:]
        return np.stack([new, np.concatenate([before, new[:-1]])], axis=2).reshape(-1)

    def _new(self, epoch: int) -> np.ndarray:
        """The positions of the new samples of each batch, [steps, new]."""
        order = BatchSampler(self.samples, self.batch_size, self.seed).order(epoch)
        return order.reshape(self.steps, -1)


def check_last_batch(settings: DatasetConfig, per_class: int = 1) -> None:
    """Refuse what would make another sample of one that comes once more, or another batch.

    Args:
        settings: of the data set.
        per_class: how many images of a class a batch is to hold together.

    Raises:
        ConfigError: samples are mixed, or batches are grouped by class.
    """
    for mixing in ("mixup", "cutmix"):
        if getattr(settings.augment, mixing):
            raise ConfigError(
                "The method sees each image in two batches, in which it would be mixed with "
                f"others each time. Set dataset.augment.{mixing}=0.",
                ("dataset", "augment", mixing),
            )
    if per_class > 1:
        raise ConfigError(
            "The method repeats the batch before in each batch, and cannot hold images of a class "
            "together besides.",
            ("dataset", "per_class"),
        )
