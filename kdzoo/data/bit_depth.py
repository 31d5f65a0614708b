"""Images of more than 8 bits a channel, and the range of their pixels, which becomes 0 to 255.

How many of the 16 or 32 bits carry anything differs between cameras and programs (0 to 255, to
4095, to 1.0), and files do not say it. So one range is found for the whole data set.
"""

import re
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

CUT = re.compile(r";16[BLN]")
"""In Pillow's name of a layout: 16 bits in each of several channels, of which it keeps 8."""


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
    return image.mode[0] in "IF" or _is_cut(image)


def deep_pixels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """All bits of an image of which :func:`is_deep` holds, before it is loaded.

    Returns:
        the pixels [H, W, 1 or 3], and the opacity as uint8 [H, W, 1] where there is one.

    Raises:
        ValueError: some are no finite numbers, or not all bits of the format can be read.
    """
    if not _is_cut(image):
        pixels = np.asarray(image)[..., None]
        if not np.isfinite(pixels).all():
            raise ValueError("some of its pixels are no finite numbers")
        return pixels, None
    if image.format != "PNG":
        raise ValueError(
            "16 bits in each of several channels can only be read from PNG; save it as that, or "
            "with 8 bits"
        )
    content = np.fromfile(image.filename, np.uint8)  # type: ignore[attr-defined]
    decoded = decode_image(torch.from_numpy(content), ImageReadMode.UNCHANGED)
    pixels = decoded.movedim(0, -1).numpy()
    colours = 3 if pixels.shape[2] > 2 else 1
    opacity = pixels[..., colours:]
    return pixels[..., :colours], (opacity // 257).astype(np.uint8) if opacity.size else None


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


def _is_cut(image: Image.Image) -> bool:
    return image.mode[0] not in "IF" and any(
        CUT.search(str(tile.args)) for tile in getattr(image, "tile", ())
    )
