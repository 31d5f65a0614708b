"""All images of a data set, decoded: from files by way of the cache, from elsewhere directly."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kdzoo.data.cache import Decoded, cached, key
from kdzoo.data.encoded import EncodedImages, IndexedImages
from kdzoo.data.images import ArrayImages, Images
from kdzoo.data.reader import decode, refusal
from kdzoo.data.resize import ImageSize
from kdzoo.data.splits import Split

CHUNK = 1024


def preload(
    splits: Mapping[str, Split], size: ImageSize, *, cache: Path, workers: int, skip: bool
) -> tuple[dict[str, Split], list[str]]:
    """The splits with their images in memory, and why each image that is left out was unreadable.

    Args:
        splits: as they were loaded.
        size: the size that images get.
        cache: the folder of the cache.
        workers: how many processes decode.
        skip: leave out unreadable images.

    Raises:
        UserError: an image is unreadable and not to be skipped, or has the wrong size.
    """
    loaded: dict[str, Split] = {}
    skipped: list[str] = []
    for name, split in splits.items():
        decoded = _decoded(split.images, size, cache, workers, f"Decoding {name} images")
        reasons = list(decoded.unreadable.values())
        if reasons and not skip:
            raise refusal(reasons)
        images = split.images
        paths = images.paths if isinstance(images, ArrayImages) else None
        if isinstance(images, IndexedImages):
            paths = images.listed()
        loaded[name] = Split(ArrayImages(decoded.array, paths, decoded.version), split.labels)
        if reasons:
            readable = np.setdiff1d(np.arange(len(split)), list(decoded.unreadable))
            loaded[name] = loaded[name].take(readable)
        skipped += reasons
    return loaded, skipped


def _decoded(images: Images, size: ImageSize, cache: Path, workers: int, label: str) -> Decoded:
    if isinstance(images, ArrayImages):
        return Decoded(_fitted(images.array, size), {})
    shape = (len(images), size.height, size.width, 3)
    decode_into = partial(decode, images, size, workers=workers, label=label)
    if isinstance(images, EncodedImages):
        known = key(images, size)
        # of the same images that are not decoded, a sample is looked at
        return replace(cached(cache, known, shape, decode_into), version=f"{known}-decoded")
    array = np.zeros(shape, np.uint8)
    return Decoded(array, decode_into(array))


def _fitted(array: np.ndarray, size: ImageSize) -> np.ndarray:
    if array.shape[1:3] == (size.height, size.width):
        return array
    chunks = [array[start : start + CHUNK] for start in range(0, len(array), CHUNK)]
    return np.concatenate([size.fit(chunk, "an image") for chunk in chunks])
