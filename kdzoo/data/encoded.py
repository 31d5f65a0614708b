"""Images as they are stored, such as JPEG: looked at, decoded and told apart without a copy."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from PIL import Image, ImageFile

from kdzoo.data.bit_depth import PixelRange, is_deep, reduced
from kdzoo.data.image_files import orientation
from kdzoo.data.jpeg import decode_jpeg

DRAFTS = (8, 4, 2)
"""By what part of a side a JPEG may be decoded, which takes a part of the time."""

TRANSPOSING = frozenset(
    {
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    }
)


class EncodedImages(ABC):
    """Images of any format that Pillow reads, turned as their EXIF data say.

    Attributes:
        pixel_range: what becomes 0 to 255 in images of more than 8 bits a channel.
    """

    pixel_range: PixelRange | None

    @property
    @abstractmethod
    def sizes(self) -> np.ndarray:
        """int64 [N], bytes of each image as it is stored."""

    @abstractmethod
    def version(self) -> Iterator[Any]:
        """Pieces of bytes that differ wherever the images may."""

    @abstractmethod
    def open(self, index: int, /) -> ImageFile.ImageFile:
        """The image, whose pixels are not loaded yet; to be closed.

        Raises:
            OSError: it is not there, or is no image.
            Exception: whatever else Pillow raises for damaged files.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int, /) -> str: ...

    @abstractmethod
    def take(self, index: np.ndarray, /) -> "EncodedImages": ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        with self.open(index) as image:
            return decode_upright(image, self.pixel_range)

    @abstractmethod
    def digest(self, index: int, /) -> bytes | None:
        """What stands for an image's bytes; None where it cannot be read."""

    def scaled(self, pixel_range: PixelRange) -> "EncodedImages":
        """The same images, with the range of those of more than 8 bits a channel."""
        return replace(self, pixel_range=pixel_range)  # type: ignore[type-var]  # all are dataclasses


class IndexedImages(EncodedImages):
    """Images whose places are known, of which an index can be kept."""

    @abstractmethod
    def listed(self) -> Sequence[str]:
        """Where each of the N images is, for people."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What is to be kept of them, but for the range of their pixels."""

    @classmethod
    @abstractmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The images of which these are the arrays."""

    @abstractmethod
    def is_current(self) -> bool:
        """Whether the files have the sizes and the times of change that they had."""


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of an image that need not be loaded, once it is turned as EXIF data say."""
    turned = orientation(image) in TRANSPOSING
    return image.size if turned else (image.height, image.width)


def decode_upright(
    image: Image.Image, pixel_range: PixelRange | None = None, shrink: int = 1
) -> np.ndarray:
    """The pixels of an image that need not be loaded yet, upright: uint8 [H, W, 3].

    Args:
        image: it may be loaded.
        pixel_range: what becomes 0 to 255 where it has more than 8 bits a channel.
        shrink: by how many times the sides of a JPEG may be smaller; other formats are read whole.
    """
    reduced = shrink > 1 and image.format in ("JPEG", "MPO")
    if reduced:
        image.draft(None, (image.width // shrink, image.height // shrink))
    pixels = None if reduced else decode_jpeg(image)
    if pixels is None:
        pixels = rgb_bytes(image, pixel_range)
        image.load()  # some formats have their EXIF data behind the pixels
    turn = orientation(image)
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


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
