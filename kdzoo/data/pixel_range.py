"""The range of the pixels of a data set whose images have more than 8 bits a channel."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from kdzoo.data.bit_depth import PixelRange, deep_pixels, is_deep
from kdzoo.data.cache import key
from kdzoo.data.encoded import EncodedImages
from kdzoo.data.images import Images, evenly_spaced
from kdzoo.data.reader import CHUNK, with_progress
from kdzoo.data.remembered import remembered
from kdzoo.data.splits import Split
from kdzoo.errors import UserError

PROBES = 64
"""Images that are looked at first; all are read only where one of them has more than 8 bits."""


class FoundRange(NamedTuple):
    """A range, and how many bits its values take in the files."""

    pixel_range: PixelRange
    bits: int

    def __str__(self) -> str:
        low, high = self.pixel_range
        return f"{self.bits}-bit images: {low:g} to {high:g} became 0 to 255"


def find_pixel_range(images: Images, workers: int, cache: Path) -> FoundRange | None:
    """The lowest and the highest value of all pixels, but for images that cannot be read.

    All files are read for it once; while they do not change, the cache knows the range.

    Args:
        images: the training images; only files are looked at, since what is in memory is bytes.
        workers: how many processes read them.
        cache: the folder of the cache of decoded images.

    Returns:
        None where an even sample of the images has 8 bits a channel.

    Raises:
        UserError: some images have whole numbers, others floating point numbers.
    """
    if not isinstance(images, EncodedImages):
        return None
    if not any(_is_deep(images, position) for position in evenly_spaced(images, PROBES)):
        return None
    found = remembered(cache, f"{key(images)}.range", lambda: _range(images, workers))
    return None if found is None else FoundRange(PixelRange(*found[:2]), found[2])


def _range(images: EncodedImages, workers: int) -> tuple[float, float, int] | None:
    found = list(_extremes(images, workers))
    if not found:
        return None
    first = found[0]
    for one in found:
        if one.is_float != first.is_float:
            raise UserError(
                f"The pixels of {one.name} and {first.name} differ in kind: one has whole numbers, "
                "the other floating point numbers, and no range fits both. Convert either."
            )
    low, high = min(one.low for one in found), max(one.high for one in found)
    return low, high, max(one.bits for one in found)


def scaled_alike(splits: Mapping[str, Split], pixel_range: PixelRange) -> dict[str, Split]:
    """The splits, with the images of more than 8 bits scaled from that range in all of them."""

    def scaled(split: Split) -> Split:
        if not isinstance(split.images, EncodedImages):
            return split
        return replace(split, images=split.images.scaled(pixel_range))

    return {name: scaled(split) for name, split in splits.items()}


class _Extremes(NamedTuple):
    name: str
    is_float: bool
    bits: int
    low: float
    high: float


@dataclass(frozen=True)
class _ExtremesReader(TorchDataset[_Extremes | None]):
    images: EncodedImages

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> _Extremes | None:
        with suppress(Exception), self.images.open(index) as image:  # whoever decodes it reports it
            if is_deep(image):
                pixels, _ = deep_pixels(image)
                low, high = float(pixels.min()), float(pixels.max())
                kind = pixels.dtype
                return _Extremes(
                    self.images.name(index), kind.kind == "f", 8 * kind.itemsize, low, high
                )
        return None


def _extremes(images: EncodedImages, workers: int) -> Iterator[_Extremes]:
    loader = DataLoader(
        _ExtremesReader(images),
        batch_size=CHUNK,
        collate_fn=list,
        num_workers=workers if len(images) > CHUNK else 0,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    batches = with_progress(loader, "Looking for the range of pixels", len(loader))
    yield from (one for one in chain.from_iterable(batches) if one is not None)


def _is_deep(images: EncodedImages, position: int) -> bool:
    with suppress(Exception), images.open(position) as image:  # likewise
        return is_deep(image)
    return False
