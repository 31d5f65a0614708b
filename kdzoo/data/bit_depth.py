"""Images of more than 8 bits a channel, and the range of their pixels, which becomes 0 to 255.

How many of the 16 or 32 bits carry anything differs between cameras and programs (0 to 255, to
4095, to 1.0), and files do not say it. So one range is found for the whole data set.
"""

import io
import re
import sys
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

CUT = re.compile(r"(\w+);16([BLN])")
"""Pillow's name for 16 bits in each of several channels, of which it keeps 8: and the byte order,
big-endian, little-endian or this machine's."""


class PixelRange(NamedTuple):
    """The lowest and the highest value that pixels have."""

    low: float
    high: float

    def to_bytes(self, pixels: np.ndarray) -> np.ndarray:
        """Values as uint8: low becomes 0 and high 255, and what lies outside is clipped."""
        share = (pixels.astype(np.float64) - self.low) / ((self.high - self.low) or 1)
        return np.rint(share.clip(0, 1) * 255).astype(np.uint8)


def is_deep(image: Image.Image) -> bool:
    """Whether an image, opened but perhaps not loaded, has more than 8 bits a channel."""
    return image.mode[0] in "IF" or _cut(image) is not None


def deep_pixels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """All bits of an image of which :func:`is_deep` holds, before it is loaded.

    Returns:
        the pixels [H, W, 1 or 3], and the opacity as uint8 [H, W, 1] where there is one.

    Raises:
        ValueError: some are no finite numbers, or not all bits of the format can be read.
    """
    if cut := _cut(image):
        assert isinstance(image, ImageFile.ImageFile)
        return _both_halves(image, *cut)
    pixels = np.asarray(image)[..., None]
    if not np.isfinite(pixels).all():
        raise ValueError("some of its pixels are no finite numbers")
    return pixels, None


def _both_halves(
    image: ImageFile.ImageFile, channels: str, order: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pillow keeps the upper byte; read in the other byte order, it keeps the lower one."""
    if channels == "LA":  # is never read in the other, but is as wide as four channels of a byte
        upper, lower, opacity, _ = np.moveaxis(_read_as(image, "RGBA"), -1, 0)
        return (upper.astype(np.uint16) << 8 | lower)[..., None], opacity[..., None]
    if channels not in ("RGB", "RGBX", "RGBA"):
        raise ValueError(f"16 bits in each channel of {channels}; save it as RGB, or with 8 bits")
    native, other = "LB" if sys.byteorder == "little" else "BL"
    lower = _read_as(image, f"{channels};16{native if order == other else other}")
    upper = np.asarray(image)
    pixels = upper.astype(np.uint16) << 8 | lower
    return pixels[..., :3], upper[..., 3:] if channels == "RGBA" else None


def _read_as(image: ImageFile.ImageFile, layout: str) -> np.ndarray:
    assert image.format is not None
    with Image.open(image.filename or _copy(image.fp), formats=[image.format]) as again:
        again.tile = [
            tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout)
            for tile in again.tile
        ]
        return np.asarray(again)


def _copy(file: IO[bytes] | None) -> io.BytesIO:
    """What is in a file in memory, from its beginning; it stays where it is read."""
    assert file is not None  # since the image is not loaded
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return io.BytesIO(content)


def reduced(image: Image.Image, pixel_range: PixelRange | None) -> Image.Image:
    """An image of more than 8 bits with 8.

    Raises:
        ValueError: as :func:`deep_pixels`, or there is no range.
    """
    pixels, opacity = deep_pixels(image)
    if pixel_range is None:
        raise ValueError(
            "it has more than 8 bits a channel, unlike the training images that were looked at, so "
            "which values would become 0 and 255 is unknown; save it with 8 bits"
        )
    channels = pixel_range.to_bytes(pixels)
    if opacity is not None:
        channels = np.concatenate([channels, opacity], axis=2)
    return Image.fromarray(channels.squeeze(2) if channels.shape[2] == 1 else channels)


def _cut(image: Image.Image) -> tuple[str, str] | None:
    """The channels and the byte order of an image that Pillow would cut to 8 bits."""
    for tile in getattr(image, "tile", ()):
        layout = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
        if image.mode[0] not in "IF" and (found := CUT.fullmatch(str(layout))):
            return found[1], found[2]
    return None
