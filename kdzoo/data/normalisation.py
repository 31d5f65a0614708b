"""Statistics of the training images: mean and std of each channel, and whether they differ."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kdzoo.data.cache import known_key
from kdzoo.data.images import (
    ArrayImages,
    Images,
    UnreadableImageError,
    evenly_spaced,
    read,
)
from kdzoo.data.remembered import remembered
from kdzoo.data.resize import ImageSize
from kdzoo.errors import UserError

SAMPLE = 2000
"""Images that are looked at where they must be decoded for it."""

CHUNK = 512


def known_mean_and_std(
    images: Images, size: ImageSize, cache: Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """As :func:`mean_and_std`; of the same files it is found once, and kept in ``cache``.

    Raises:
        UserError: as there.
    """
    known = known_key(images, size)
    if known is None:
        return mean_and_std(images, size)
    mean, std = remembered(cache, f"{known}.mean", lambda: mean_and_std(images, size))
    return tuple(mean), tuple(std)


def mean_and_std(images: Images, size: ImageSize) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of pixels in [0, 1]: exact for decoded images, of an even sample of others.

    Raises:
        UserError: not one image of the sample can be read.
    """
    counts = np.zeros((3, 256))
    for pixels in _batches(images, size):
        for channel in range(3):
            counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
    if not counts.any():
        raise UserError("None of the training images can be read.")
    shares = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    std[std == 0] = 1.0  # a channel without any contrast
    return tuple(mean.tolist()), tuple(std.tolist())


def check_contrast(images: Images, size: ImageSize) -> None:
    """Read images until two differ.

    Raises:
        UserError: all are the same, such as black, so that nothing tells the classes apart.
    """
    first = None
    for position in range(len(images)):
        try:
            image = size.fit(read(images, position), images.name(position))
        except UnreadableImageError:
            continue
        if first is None:
            first = image
        elif not np.array_equal(first, image):
            return
    if first is not None and len(images) > 1:
        raise UserError(
            f"All {len(images)} training images are the same, pixel for pixel, so there is nothing "
            "to learn. Check how they were written."
        )


def _batches(images: Images, size: ImageSize) -> Iterator[np.ndarray]:
    if isinstance(images, ArrayImages):
        for start in range(0, len(images), CHUNK):
            yield images.array[start : start + CHUNK]
        return
    for position in evenly_spaced(images, SAMPLE):
        try:
            yield size.fit(read(images, position), images.name(position))
        except UnreadableImageError:
            continue  # whoever reads it next reports it
