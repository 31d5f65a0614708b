"""ImageNet and Tiny ImageNet as they come, held against what is published of them."""

import re
from abc import ABC
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from kdzoo.data.augment_config import AugmentConfig, Padding
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.index import indexed
from kdzoo.data.splits import Splits
from kdzoo.datasets.read_splits import read_splits
from kdzoo.datasets.split_folders import find_split_folders, innermost
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets

WNID = re.compile(r"n\d{8}")
"""A WordNet ID, which names a class."""

KAGGLE = Path("ILSVRC/Data/CLS-LOC")
"""Where the images are in Kaggle's archive."""


@dataclass(frozen=True)
class Published:
    """What is known of a data set, whoever hands it out.

    Attributes:
        title: its name in messages.
        classes: how many.
        samples: of all classes, by split.
        per_class: the fewest and the most of one class, by split.
    """

    title: str
    classes: int
    samples: dict[str, int]
    per_class: dict[str, tuple[int, int]]

    def wrong_in(self, splits: Splits) -> str | None:
        """What is other in ``splits``, in words."""
        if strange := [name for name in splits.classes if not WNID.fullmatch(name)]:
            return f"the class {_first(strange)} is no WordNet ID such as n01440764"
        if len(splits.classes) != self.classes:
            return f"it has {len(splits.classes)} classes, not {self.classes:,}"
        for name, split in splits.as_dict().items():
            fewest, most = self.per_class[name]
            counts = np.bincount(split.labels, minlength=self.classes)
            wrong = np.flatnonzero((counts < fewest) | (counts > most)).tolist()
            if wrong:
                number = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
                listed = _first(f"{splits.classes[label]} {counts[label]:,}" for label in wrong)
                return f"a class has {number} {name} images, but {listed}"
            if len(split) != self.samples[name]:
                return f"it has {len(split):,} {name} images, not {self.samples[name]:,}"
        return None


class WordNetFolders(Dataset, ABC):
    """What ImageNet and Tiny ImageNet share: classes by WordNet ID, and labelled ``val`` images.

    Attributes:
        published: what the folders must hold.
    """

    class Config(DatasetConfig):
        """Where the images are."""

        root: Annotated[Path, NotIdentity]
        """The folder that holds ``train`` and ``val``."""

    published: ClassVar[Published]

    def load(self) -> Splits:
        root = expand_user(self.config.root)
        name = self.config.name
        splits = indexed(self.config.cache_folder, root, {"name": name}, lambda: self._find(root))
        wrong = self.published.wrong_in(splits)
        if wrong is not None:
            raise UserError(
                f"{root} does not hold {self.published.title}: {wrong}. Unpack all of it there; or "
                f"read the images as data of your own, with dataset=imagefolder dataset.root={root}"
            )
        counts = " + ".join(f"{count:,}" for count in self.published.samples.values())
        checked = (
            f"{self.published.title} in {root}: {len(splits.classes):,} classes and {counts} "
            "images, as published; labels are in the order of the WordNet IDs"
        )
        return replace(splits, notes=(*splits.notes, checked))

    def _find(self, root: Path) -> Splits:
        root = innermost(root / KAGGLE if (root / KAGGLE).is_dir() else root)
        named = find_split_folders(root)
        if not {"train", "val"} <= named.keys():
            raise UserError(
                f"There are no folders train and val in {root}. Unpack {self.published.title} and "
                "point dataset.root at the folder that holds them."
            )
        # the test images' labels were never published
        return read_splits(root, {split: named[split] for split in ("train", "val")})


class ImageNetAugment(AugmentConfig):
    """A random resized crop and a mirror image, as in most of the papers."""

    resized_crop: Annotated[float, Field(gt=0, le=1)] | None = 0.08
    crop_padding: Padding = 0


@datasets.register("imagenet")
class ImageNet(WordNetFolders):
    """ImageNet (ILSVRC 2012): 1,281,167 + 50,000 photographs in 1,000 classes, from your folders.

    Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (IJCV 2015). The
    validation images are the test split. They lie in class folders, or in one folder with the list
    of the development kit (unpacked beside ``val``) or of Kaggle's archive.
    """

    class Config(WordNetFolders.Config):
        """The size and the augmentation of the papers."""

        image_size: Annotated[int, Field(ge=1)] | None = 224
        augment: ImageNetAugment = ImageNetAugment()

    published = Published(
        "ImageNet",
        classes=1000,
        samples={"train": 1_281_167, "test": 50_000},
        per_class={"train": (732, 1300), "test": (50, 50)},
    )
    recipe: ClassVar[dict[str, Any]] = {"epochs": 100, "batch_size": 256, "lr": 0.1}

    def load(self) -> Splits:
        return replace(super().load(), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@datasets.register("tiny_imagenet")
class TinyImageNet(WordNetFolders):
    """Tiny ImageNet: 100,000 + 10,000 images of 64x64 pixels in 200 classes, from the archive.

    Of the course CS231n at Stanford. The validation images, whose labels are in
    ``val_annotations.txt``, are the test split; those in ``test`` have no labels.
    """

    published = Published(
        "Tiny ImageNet",
        classes=200,
        samples={"train": 100_000, "test": 10_000},
        per_class={"train": (500, 500), "test": (50, 50)},
    )
    recipe: ClassVar[dict[str, Any]] = {"epochs": 200, "batch_size": 128, "lr": 0.1}


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if listed[3:] else "")
