"""The images that all contestants train on, decoded: noise of CIFAR's size, or a folder's."""

import tempfile
from pathlib import Path

import numpy as np

from kdzoo.data import ArrayImages, Dataset, DatasetConfig, Split, Splits
from kdzoo.data.cores import available_cores
from kdzoo.data.preload import preload
from kdzoo.data.resize import choose_size
from kdzoo.datasets.imagefolder import ImageFolder

CIFAR = {"mean": (0.5071, 0.4866, 0.4409), "std": (0.2673, 0.2564, 0.2762)}


class Decoded(Dataset):
    """Images that are in memory, as a data set of kdzoo's."""

    def __init__(self, splits: Splits) -> None:
        super().__init__(DatasetConfig(name="decoded"))
        self.splits = splits

    def load(self) -> Splits:
        return self.splits

    def first(self, train: int, test: int) -> "Decoded":
        """The same, with so many training and test images."""
        parts = {"train": train, "test": test}
        given = {name: self.splits.as_dict()[name].take(np.arange(n)) for name, n in parts.items()}
        return Decoded(Splits(**given, classes=self.splits.classes, **CIFAR))


def noise(train: int, test: int, classes: int = 100) -> Decoded:
    """Random images of 32x32, of at most as many classes as there are training images."""
    classes = min(classes, train)
    random = np.random.default_rng(0)
    given = {
        name: Split(
            ArrayImages(random.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)),
            np.arange(size) % classes,
        )
        for name, size in (("train", train), ("test", test))
    }
    return Decoded(Splits(**given, classes=[str(k) for k in range(classes)], **CIFAR))


def from_folder(root: Path) -> Decoded:
    """An image folder with ``train`` and ``test``, in random order."""
    splits = ImageFolder(ImageFolder.Config(name="imagefolder", root=root)).load()
    size = choose_size(splits.train.images, None)
    with tempfile.TemporaryDirectory() as cache:
        loaded, _ = preload(
            splits.as_dict(), size, cache=Path(cache), workers=available_cores(), skip=False
        )
    random = np.random.default_rng(0)
    train, test = (
        split.take(random.permutation(len(split))) for split in (loaded["train"], loaded["test"])
    )
    return Decoded(Splits(train, test, classes=splits.classes, **CIFAR))
