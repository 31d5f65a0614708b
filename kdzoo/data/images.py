"""Images, decoded or still in files, as both pipelines read them: RGB, one byte a channel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image

from kdzoo.data.bit_depth import PixelRange, is_deep, reduced
from kdzoo.data.image_files import open_image, orientation
from kdzoo.errors import UserError


class Images(Protocol):
    """A sequence of images that are decoded when they are asked for, or in memory already."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """The image, uint8 [H, W, 3]; whatever is wrong with it may raise anything."""
        ...

    def name(self, index: int, /) -> str:
        """What to call the image in a message."""
        ...

    def take(self, index: np.ndarray, /) -> "Images":
        """Those at the positions ``index``, in that order."""
        ...


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size, in memory or memory-mapped.

    Attributes:
        array: uint8 [N, H, W, 3].
        paths: of the N files that they were decoded from, if any.
    """

    array: np.ndarray
    paths: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self.array[index]

    def name(self, index: int, /) -> str:
        return f"image {index}" if self.paths is None else f"the image {self.paths[index]}"

    def take(self, index: np.ndarray, /) -> "ArrayImages":
        paths = None if self.paths is None else [self.paths[i] for i in index]
        return ArrayImages(self.array[index], paths)


@dataclass(frozen=True)
class FileImages:
    """Images in files of any format that Pillow reads, turned as their EXIF data say.

    Attributes:
        paths: N paths.
        stamps: int64 [N, 2], each file's size in bytes and time of change in nanoseconds.
        pixel_range: what becomes 0 to 255 in images of more than 8 bits a channel.
    """

    paths: Sequence[str]
    stamps: np.ndarray
    pixel_range: PixelRange | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> np.ndarray:
        with open_image(self.paths[index]) as image:
            pixels = rgb_bytes(image, self.pixel_range)
            image.load()  # some formats have their EXIF data behind the pixels
            turn = orientation(image)
        return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))

    def name(self, index: int, /) -> str:
        return f"the image {self.paths[index]}"

    def take(self, index: np.ndarray, /) -> "FileImages":
        return replace(self, paths=[self.paths[i] for i in index], stamps=self.stamps[index])


class UnreadableImageError(UserError):
    """An image that cannot be decoded; the message names it and the reason."""


def read(images: Images, position: int) -> np.ndarray:
    """An image, uint8 [h, w, 3].

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    try:
        return images[position]
    except Exception as error:  # broken files, and people's own data sets, raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableImageError(f"Cannot read {images.name(position)} ({reason})") from error


def evenly_spaced(images: Images, count: int) -> list[int]:
    """At most ``count`` positions among the images, for a look at some of them."""
    return np.unique(np.linspace(0, len(images) - 1, count).astype(int)).tolist()


def rgb_bytes(image: Image.Image, pixel_range: PixelRange | None = None) -> np.ndarray:
    """Any mode as RGB bytes [H, W, 3]: grey is repeated, transparency put on white.

    Args:
        image: a PIL image.
        pixel_range: what becomes 0 to 255 where it has more than 8 bits a channel.

    Raises:
        ValueError: it has, and the range is not given.
    """
    if is_deep(image):
        image = reduced(image, pixel_range)
    image.load()
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))
