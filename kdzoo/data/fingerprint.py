"""What stands for a loaded data set, wherever it lies: its classes, its labels and its images."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kdzoo.data.encoded import EncodedImages
from kdzoo.data.images import ArrayImages, Images, evenly_spaced
from kdzoo.data.splits import Split, Splits

FILES = 256
"""Files of a split whose bytes are looked at; of all others it is their sizes."""
SAMPLES = 64
"""Samples of a person's own data set that are looked at; each is read twice."""
ARRAY_BYTES = 256 * 2**20
"""Of a larger array, evenly spaced images of so many bytes together are looked at."""


@dataclass(frozen=True)
class SplitFingerprint:
    """What stands for a split.

    Attributes:
        samples: how many there are.
        labels: a digest of all labels, in their order.
        images: a digest of the images; None where reading one twice gives two different ones.
    """

    samples: int
    labels: str
    images: str | None


@dataclass(frozen=True)
class DataFingerprint:
    """What stands for a data set; two copies of one have the same.

    Attributes:
        classes: K.
        names: a digest of the names of the classes, in the order of their labels.
        splits: by name.
        mean, std: of each channel, where they are given.
    """

    classes: int
    names: str
    splits: dict[str, SplitFingerprint]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def difference(self, other: "DataFingerprint") -> str | None:
        """What is other in ``other``, in words; None where they are equal."""
        if self == other:
            return None
        if (self.classes, self.samples) != (other.classes, other.samples):
            counts = " + ".join(map(str, other.samples.values()))
            return f"{counts} samples of {other.classes} classes"
        if self.names != other.names:
            return "other names of classes"
        for name, split in self.splits.items():
            for part in ("labels", "images"):
                if getattr(split, part) != getattr(other.splits[name], part):
                    return f"other {part} in {name}"
        return "another mean or std"

    @property
    def samples(self) -> dict[str, int]:
        """How many there are, by split."""
        return {name: split.samples for name, split in self.splits.items()}


def data_fingerprint(splits: Splits) -> DataFingerprint:
    """The fingerprint of a data set.

    Every label counts, and so does the size of every file. Of images, a part is looked at where
    there are many: see the constants of this module.

    Args:
        splits: as they were loaded, before a part of them is chosen and files are decoded.
    """
    return DataFingerprint(
        len(splits.classes),
        _digest("\n".join(splits.classes).encode("utf-8", "surrogateescape")),
        {name: _split(split) for name, split in splits.as_dict().items()},
        None if splits.mean is None else tuple(float(one) for one in splits.mean),
        None if splits.std is None else tuple(float(one) for one in splits.std),
    )


def _split(split: Split) -> SplitFingerprint:
    labels = np.ascontiguousarray(split.labels, "<i8")
    return SplitFingerprint(len(split), _digest(labels), _images(split.images))


def _images(images: Images) -> str | None:
    if isinstance(images, ArrayImages):
        return _of_array(images.array)
    if isinstance(images, EncodedImages):
        sizes = images.sizes.astype("<i8").tobytes()
        chosen = evenly_spaced(images, FILES)
        files = (images.digest(position) or b"unreadable" for position in chosen)
        return _digest(sizes, *files)
    chosen = evenly_spaced(images, SAMPLES)
    with _kept_random_state():
        first, second = ([_sample(images, one) for one in chosen] for _ in range(2))
    return _digest(*first) if first == second else None


def _of_array(array: np.ndarray) -> str:
    shape = repr(array.shape).encode()
    if array.nbytes <= ARRAY_BYTES:
        return _digest(shape, np.ascontiguousarray(array))
    count = max(1, ARRAY_BYTES // (array.nbytes // len(array)))
    chosen = np.unique(np.linspace(0, len(array) - 1, count).astype(int))
    return _digest(shape, *(np.ascontiguousarray(array[position]) for position in chosen))


def _sample(images: Images, position: int) -> bytes:
    """What an image's bytes stand for, with what draws at random told to draw the same."""
    torch.manual_seed(position)
    random.seed(position)
    np.random.seed(position)
    try:
        image = images[position]
    except Exception:  # a person's own code raises anything; what reads them all will say so
        return b"unreadable"
    return repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()


@contextmanager
def _kept_random_state() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _digest(*parts: Any) -> str:
    """A digest of pieces of bytes, which cannot be confused by where one ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(memoryview(part).nbytes.to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:16]
