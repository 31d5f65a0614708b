"""What a data set loads into: labelled images, by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from kdzoo.data.images import Images
from kdzoo.errors import UserError
from kdzoo.task_checks import check_names, check_normalisation

SplitName = Literal["train", "val", "test"]
T = TypeVar("T")
CHANNELS = 3
"""Of every image: what is grey is made of three equal ones."""


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
        UserError: a split is empty, there is one class only or two of one name, a label is out of
            range, a class has no training sample, or mean and std are not of pixels in [0, 1].
    """

    train: Split
    test: Split
    classes: Sequence[str]
    val: Split | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names(self.classes)
        check_normalisation(CHANNELS, self.mean, self.std)
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
        missing = _missing(self.train.labels, self.classes)
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

    def replaced(self, splits: Mapping[str, Split]) -> "Splits":
        """With other splits, by name."""
        return replace(self, train=splits["train"], val=splits.get("val"), test=splits["test"])

    def remarks(self) -> tuple[str, ...]:
        """The notes, and which classes cannot be measured, in lines for people."""
        lacking = [
            lacking_classes(f"the {name} split", split.labels, self.classes)
            for name, split in self.as_dict().items()
        ]
        return (*self.notes, *filter(None, lacking))


@dataclass(frozen=True)
class LabelledImages:
    """Images to measure a network on; unlike those to train on, they may be of a single class.

    Attributes:
        splits: those that are measured, by name.
        classes: the names of the classes, in the order of their labels.
        notes: as of :class:`Splits`.
    """

    splits: Mapping[str, Split]
    classes: Sequence[str]
    notes: tuple[str, ...] = ()


def lacking_classes(what: str, labels: np.ndarray, classes: Sequence[str]) -> str | None:
    """Which classes ``what`` has no image of, in a line for people; None where it has all."""
    missing = _missing(labels, classes)
    if not missing:
        return None
    listed = ", ".join(missing[:3]) + (", ..." if missing[3:] else "")
    return f"{what} has no image of {len(missing)} of the {len(classes)} classes ({listed})"


def _missing(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [classes[label] for label in np.setdiff1d(np.arange(len(classes)), labels)]


def find_split(splits: Mapping[str, T], name: SplitName) -> T:
    """The split ``name`` of a data set, in whichever form it is kept.

    Raises:
        UserError: there is no such split.
    """
    if name not in splits:
        raise UserError(
            f"There is no '{name}' split. dataset.val_fraction=0.1 holds a validation split out of "
            "the training set."
        )
    return splits[name]
