"""Images, decoded or still in files, as both pipelines read them: RGB, one byte a channel."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from PIL import ImageFile

from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.encoded import IndexedImages
from kdzoo.data.image_files import file_digest, open_image
from kdzoo.data.paths import Paths, take
from kdzoo.data.stamps import stamps_of
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
        version: what stands for the pixels, where that is known without a look at all of them.
    """

    array: np.ndarray
    paths: Sequence[str] | None = None
    version: str | None = None

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self.array[index]

    def name(self, index: int, /) -> str:
        return f"image {index}" if self.paths is None else f"the image {self.paths[index]}"

    def take(self, index: np.ndarray, /) -> "ArrayImages":
        paths = None if self.paths is None else take(self.paths, index)
        version = None
        if self.version is not None:
            chosen = np.ascontiguousarray(index, "<i8").tobytes()
            version = hashlib.sha256(self.version.encode() + chosen).hexdigest()[:32]
        return ArrayImages(self.array[index], paths, version)


@dataclass(frozen=True)
class FileImages(IndexedImages):
    """Images in files.

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

    @property
    def sizes(self) -> np.ndarray:
        return self.stamps[:, 0]

    def version(self) -> Iterator[Any]:
        yield f"{os.getcwd()}\0".encode("utf-8", "surrogateescape")  # paths may be relative
        # joined by a zero byte, since no path has one
        yield "\0".join(self.paths).encode("utf-8", "surrogateescape")
        yield self.stamps.tobytes()

    def open(self, index: int, /) -> ImageFile.ImageFile:
        return open_image(self.paths[index])

    def digest(self, index: int, /) -> bytes | None:
        return file_digest(self.paths[index])

    def name(self, index: int, /) -> str:
        return f"the image {self.paths[index]}"

    def take(self, index: np.ndarray, /) -> "FileImages":
        return replace(self, paths=take(self.paths, index), stamps=self.stamps[index])

    def listed(self) -> Sequence[str]:
        return self.paths

    def arrays(self) -> dict[str, np.ndarray]:
        return {**Paths.of(self.paths).arrays(), "stamps": self.stamps}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "FileImages":
        return cls(Paths.of_arrays(arrays), arrays["stamps"])

    def is_current(self) -> bool:
        return np.array_equal(stamps_of(self.paths), self.stamps)


class UnreadableImageError(UserError):
    """An image that cannot be decoded; the message names it and the reason."""


def read(images: Images, position: int) -> np.ndarray:
    """An image, uint8 [h, w, 3].

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    with named_if_unreadable(images, position):
        return images[position]


@contextmanager
def named_if_unreadable(images: Images, position: int) -> Iterator[None]:
    """Whatever is raised meanwhile becomes an :class:`UnreadableImageError` of that image."""
    try:
        yield
    except Exception as error:  # broken files, and people's own data sets, raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableImageError(f"Cannot read {images.name(position)} ({reason})") from error


def evenly_spaced(images: Images, count: int) -> list[int]:
    """At most ``count`` positions among the images, for a look at some of them."""
    return np.unique(np.linspace(0, len(images) - 1, count).astype(int)).tolist()
