"""scikit-learn's bundled digits: 1,797 real 8x8 images of handwritten digits, offline."""

from typing import Any, ClassVar

import numpy as np

from kdzoo.data.augment_config import AugmentConfig
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.images import ArrayImages
from kdzoo.data.selection import split_off
from kdzoo.data.splits import Split, Splits
from kdzoo.registry import datasets
from kdzoo.seeding import stream

TEST_FRACTION = 0.2


class DigitsAugment(AugmentConfig):
    """A digit moved by a pixel stays one; a mirrored digit does not."""

    crop_padding: int = 1
    flip: float = 0.0


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
        from sklearn.datasets import load_digits  # importing it takes a second

        bunch = load_digits()
        grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        images = np.repeat(grey[..., None], 3, axis=3)
        everything = Split(ArrayImages(images), bunch.target.astype(np.int64))
        train, test = split_off(everything, TEST_FRACTION, stream(0, "digits"))
        return Splits(train, test, classes=[str(digit) for digit in range(10)])
