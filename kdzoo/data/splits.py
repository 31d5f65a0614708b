"""What a data set loads into: labelled images, by split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdzoo.data.images import Images
from kdzoo.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images and their labels, int64 [N]."""

    images: Images
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> "Split":
        """The samples at the positions ``index``, in that order."""
        return Split(self.images.take(index), self.labels[index])


@dataclass(frozen=True)
class Splits:
    """A loaded data set.

    Attributes:
        classes: the names of the K classes, in the order of their labels.
        val: None where the data set has no validation split of its own.
        mean: of each channel of the training images, for pixels in [0, 1]; None to compute it.
        std: of each channel, likewise.

    Raises:
        UserError: a split is empty, a label is out of range or a class has no training sample.
    """

    train: Split
    test: Split
    classes: Sequence[str]
    val: Split | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, split in self.as_dict().items():
            if not len(split):
                raise UserError(f"The {name} split holds no samples.")
            wrong = (split.labels < 0) | (split.labels >= len(self.classes))
            if wrong.any():
                first = int(wrong.argmax())
                raise UserError(
                    f"Sample {first} of the {name} split has the label {split.labels[first]}, but "
                    f"{len(self.classes)} classes have the labels 0 to {len(self.classes) - 1}. "
                    "Correct the labels or the number of classes."
                )
        missing = np.setdiff1d(np.arange(len(self.classes)), self.train.labels)
        if len(missing):
            names = ", ".join(f"'{self.classes[label]}'" for label in missing)
            raise UserError(
                f"The training split has no sample of the class {names}. Add some, or take the "
                "class out."
            )

    def as_dict(self) -> dict[str, Split]:
        """The splits there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}
