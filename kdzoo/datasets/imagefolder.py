"""A person's own images, in folders of class folders."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.selection import split_off
from kdzoo.data.splits import Splits
from kdzoo.datasets.class_folders import combine, scan
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets
from kdzoo.seeding import stream


@datasets.register("imagefolder")
class ImageFolder(Dataset):
    """Your own images: ``ROOT/train/CLASS`` and ``ROOT/test/CLASS``, or all in ``ROOT/CLASS``.

    ``ROOT/val`` (or ``valid``) is the validation split where there is a ``test`` too, and the test
    split where there is not, as for ImageNet. From one folder, a part of each class is set aside as
    the test split, the same in every run.
    """

    class Config(DatasetConfig):
        """Where the images are, and how one folder is divided."""

        root: Annotated[Path, NotIdentity]
        """The folder that holds ``train``, or the class folders."""
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
        """The part of the images that is the test split where they are all in one folder."""

    config: Config

    def load(self) -> Splits:
        root = expand_user(self.config.root)
        train = root / "train"
        if not train.is_dir():
            return self._divided(root)
        test, val, valid = root / "test", root / "val", root / "valid"
        others = [folder for folder in (test, val, valid) if folder.is_dir()]
        if not others:
            raise UserError(
                f"{root} has a train folder, but neither test nor val beside it. Add one, or "
                f"divide the images of train: dataset.root={train} dataset.test_fraction=0.2"
            )
        if test in others and len(others) > 1:
            return combine({"train": train, "val": others[1], "test": test})
        return combine({"train": train, "test": others[0]})

    def _divided(self, root: Path) -> Splits:
        everything = scan(root)
        train, test = split_off(
            everything.split, self.config.test_fraction, stream(0, "imagefolder")
        )
        return Splits(train, test, classes=everything.classes)
