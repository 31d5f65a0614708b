"""A person's own images, in folders of class folders."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kdzoo.data.dataset import Dataset, DatasetConfig, Measured
from kdzoo.data.folders import ClassFolders, relabelled, require_images, scan
from kdzoo.data.index import indexed
from kdzoo.data.selection import split_off
from kdzoo.data.splits import LabelledImages, Splits, find_split
from kdzoo.datasets.read_splits import read_splits, went_into
from kdzoo.datasets.split_folders import (
    check_classes,
    find_split_folders,
    innermost,
    named_like_splits,
)
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets
from kdzoo.seeding import stream


@datasets.register("imagefolder")
class ImageFolder(Dataset):
    """Your own images: ``ROOT/train/CLASS`` and ``ROOT/test/CLASS``, or all in ``ROOT/CLASS``.

    ``ROOT/val`` is the validation split where there is a ``test`` too, and the test split where
    there is not, as for ImageNet. Other usual names will do, such as ``Training`` or ``test_set``.
    From one folder, a part of each class is set aside as the test split, the same in every run.
    """

    class Config(DatasetConfig):
        """Where the images are, and how one folder is divided."""

        root: Annotated[Path, NotIdentity]
        """The folder that holds ``train``, or the class folders."""
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
        """The part of the images that is the test split where they are all in one folder."""
        same_subfolders: Annotated[bool, NotIdentity] = False
        """Folders are classes though they hold the same folders, such as a CLASS/2025 each."""

    config: Config

    def load(self) -> Splits:
        given = expand_user(self.config.root)
        settings = self.config.model_dump(include={"name", "test_fraction", "same_subfolders"})
        return indexed(self.config.cache_folder, given, settings, lambda: self._find(given))

    def _find(self, given: Path) -> Splits:
        root = innermost(given)
        named = find_split_folders(root)
        if named:
            splits = read_splits(root, named, self.config.same_subfolders)
        else:
            splits = self._divided(root)
        return replace(splits, notes=(*went_into("data", given, root), *splits.notes))

    def load_measured(self, split: Measured, seed: int) -> LabelledImages:
        """As of every data set; images to test on may also be all that there are."""
        given = expand_user(self.config.root)
        root = innermost(given)
        named = named_like_splits(root)
        if split == "all" and not named:
            notes, found = self._check(root), scan(root)
            _require_any(root, found)
            went = went_into("data", given, root)
            return LabelledImages(
                {"all": found.split}, found.classes, (*went, *notes, *found.notes)
            )
        if split in ("train", "val") or ("train" in named and len(named) > 1):
            return super().load_measured(split, seed)
        if not named:
            loaded = super().load_measured(split, seed)
            part = f"{self.config.test_fraction:g} of the images in {root} are measured, as the "
            part += "test split; --split all measures every one"
            return replace(loaded, notes=(*loaded.notes, part))
        return self._incomplete(named, split)

    def _incomplete(self, named: dict[str, Path], split: Measured) -> LabelledImages:
        """Images in folders of splits of which there is none to train or none to test on."""
        if split == "test":
            named = {"test": find_split(named, "val" if "test" not in named else "test")}
        folders = {name: innermost(folder) for name, folder in named.items()}
        notes = [note for folder in folders.values() for note in self._check(folder)]
        found = {name: scan(folder) for name, folder in folders.items()}
        for name, one in found.items():
            _require_any(folders[name], one)
        classes = tuple(sorted({name for one in found.values() for name in one.classes}))
        return LabelledImages(
            {name: relabelled(one, classes) for name, one in found.items()},
            classes,
            tuple(dict.fromkeys([*notes, *(note for one in found.values() for note in one.notes)])),
        )

    def _check(self, folder: Path) -> tuple[str, ...]:
        return check_classes(folder, self.config.same_subfolders)

    def _divided(self, root: Path) -> Splits:
        notes = self._check(root)
        everything = scan(root)
        require_images(everything)
        train, test = split_off(
            everything.split, self.config.test_fraction, stream(0, "imagefolder")
        )
        if not len(test):
            raise UserError(
                f"{root} holds {len(train)} images of {len(everything.classes)} classes, too few "
                f"to set dataset.test_fraction={self.config.test_fraction:g} of them aside to test "
                "on, since each class needs one to train on. Add images."
            )
        division = (
            f"no split folders in {root}: {self.config.test_fraction:.3g} of each class is the "
            "test split (dataset.test_fraction)"
        )
        return Splits(
            train, test, classes=everything.classes, notes=(*notes, *everything.notes, division)
        )


def _require_any(folder: Path, found: ClassFolders) -> None:
    if not len(found.split):
        raise UserError(f"{folder} holds no images in its class folders.")
