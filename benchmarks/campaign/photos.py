"""A few pictures of two classes."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bright", "dark")


def make_photos(folder: Path, train: int = 32, test: int = 8, seed: int = 0) -> None:
    """Write ``train`` and ``test`` pictures of each class, 16x16, as ``imagefolder`` reads them."""
    noise = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        for level, name in zip((160, 60), CLASSES, strict=True):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = noise.normal(level, 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                form = ("png", "jpg")[number % 2]
                picture = place / f"{number:02}.{form}"
                Image.fromarray(pixels).save(picture)
                os.utime(picture, (10**9, 10**9))  # the cache goes by it
