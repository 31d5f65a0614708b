"""scikit-learn's bundled digits: 1,797 real 8x8 images of handwritten digits, offline."""

import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kdzoo.data.augment_config import AugmentConfig, Padding, Probability
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.images import ArrayImages
from kdzoo.data.selection import split_off
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import UserError
from kdzoo.registry import datasets
from kdzoo.seeding import stream

TEST_FRACTION = 0.2
TABLE = "datasets/data/digits.csv.gz"
"""In the folder of scikit-learn."""


class DigitsAugment(AugmentConfig):
    """A digit moved by a pixel stays one; a mirrored digit does not."""

    crop_padding: Padding = 1
    flip: Probability = 0.0


@datasets.register("digits")
class Digits(Dataset):
    """Handwritten digits, 1,797 of 8x8 pixels, bundled with scikit-learn: works offline.

    The test set of "Optical Recognition of Handwritten Digits" (UCI, 1998).

    Grey images become three equal channels, so that every backbone takes them. A fifth of each
    class is the test split, the same in every run.
    """

    class Config(DatasetConfig):
        """Small shifts and no mirroring, unless asked for."""

        augment: DigitsAugment = DigitsAugment()

    # Eleven steps make an epoch, so that a deep network needs a gentle start; and on 8x8 pixels
    # threads cost more than they bring.
    recipe: ClassVar[dict[str, Any]] = {
        "epochs": 40,
        "schedule": {"name": "cosine", "warmup": 0.125},
        "training": {"clip_norm": 5, "threads": 1},
    }

    def load(self) -> Splits:
        pixels, labels = np.split(_table(), [64], axis=1)
        grey = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        images = np.repeat(grey[..., None], 3, axis=3)
        everything = Split(ArrayImages(images), labels[:, 0].astype(np.int64))
        train, test = split_off(everything, TEST_FRACTION, stream(0, "digits"))
        return Splits(train, test, classes=[str(digit) for digit in range(10)])


@cache
def _table() -> np.ndarray:
    """[1797, 65]: 64 pixels from 0 to 16 and the label, as ``sklearn.datasets.load_digits`` has it.

    The file alone is read: importing scikit-learn takes longer than an epoch on it.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("The digits come with scikit-learn, which is not installed.")
    with gzip.open(Path(package.origin).parent / TABLE, "rt") as file:
        return np.loadtxt(file, delimiter=",")
