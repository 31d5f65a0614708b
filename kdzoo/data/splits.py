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
        notes: what was decided about the files and what was left out, each in a line for people.

    Raises:
        UserError: a split is empty, there is one class only, a label is out of range or a class has
            no training sample.
    """

    train: Split
    test: Split
    classes: Sequence[str]
    val: Split | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

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
        if len(self.classes) == 1:
            raise UserError(
                f"There is only one class, '{self.classes[0]}': nothing can be learnt from it. Add "
                "the images of others, or point at the folder that holds all of them."
            )
        missing = self._missing(self.train)
        if missing:
            names = ", ".join(f"'{name}'" for name in missing)
            raise UserError(
                f"The training split has no sample of the class {names}. Add some, or take the "
                "class out."
            )

    def as_dict(self) -> dict[str, Split]:
        """The splits there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def remarks(self) -> tuple[str, ...]:
        """The notes, and which classes cannot be measured, in lines for people."""
        lines = list(self.notes)
        for name, split in self.as_dict().items():
            if missing := self._missing(split):
                listed = ", ".join(missing[:3]) + (", ..." if missing[3:] else "")
                lines.append(
                    f"the {name} split has no image of {len(missing)} of the {len(self.classes)} "
                    f"classes ({listed})"
                )
        return tuple(lines)

    def _missing(self, split: Split) -> list[str]:
        labels = np.setdiff1d(np.arange(len(self.classes)), split.labels)
        return [self.classes[label] for label in labels]
