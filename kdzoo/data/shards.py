"""Images that are members of tar files, read where they stand without unpacking anything."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import ImageFile

from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.encoded import IndexedImages
from kdzoo.data.image_files import open_image
from kdzoo.data.paths import Paths
from kdzoo.data.stamps import stamps_of


@dataclass(frozen=True)
class ShardImages(IndexedImages):
    """Images in shards, which are tar files.

    Attributes:
        shards: the paths of the S shards.
        stamps: int64 [S, 2], each shard's size in bytes and time of change in nanoseconds.
        places: int64 [N, 3], of each image its shard, the offset in it and the size in bytes.
        members: the names of the N images in their shards.
        pixel_range: what becomes 0 to 255 in images of more than 8 bits a channel.
    """

    shards: Paths
    stamps: np.ndarray
    places: np.ndarray
    members: Paths
    pixel_range: PixelRange | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def sizes(self) -> np.ndarray:
        return self.places[:, 2]

    def version(self) -> Iterator[Any]:
        yield f"{os.getcwd()}\0".encode("utf-8", "surrogateescape")  # paths may be relative
        yield "\0".join(self.shards).encode("utf-8", "surrogateescape")
        yield self.stamps.tobytes()
        yield np.ascontiguousarray(self.places).tobytes()

    def open(self, index: int, /) -> ImageFile.ImageFile:
        return open_image(self._content(index))

    def digest(self, index: int, /) -> bytes | None:
        with suppress(OSError):
            return hashlib.sha256(self._content(index)).digest()
        return None

    def name(self, index: int, /) -> str:
        return f"the image {self.members[index]} in {self.shards[int(self.places[index, 0])]}"

    def take(self, index: np.ndarray, /) -> "ShardImages":
        return replace(self, places=self.places[index], members=self.members.take(index))

    def listed(self) -> Paths:
        shards = list(self.shards)
        numbers = self.places[:, 0].tolist()
        return Paths.of(
            f"{shards[number]}{os.sep}{member}"
            for number, member in zip(numbers, self.members, strict=True)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        shards, members = self.shards.arrays(), self.members.arrays()
        return {
            **{f"shards.{part}": array for part, array in shards.items()},
            **{f"members.{part}": array for part, array in members.items()},
            "stamps": self.stamps,
            "places": self.places,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ShardImages":
        shards, members = (
            Paths.joined(arrays[f"{name}.text"], arrays[f"{name}.lengths"])
            for name in ("shards", "members")
        )
        return cls(shards, arrays["stamps"], arrays["places"], members)

    def is_current(self) -> bool:
        return np.array_equal(stamps_of(self.shards), self.stamps)

    def _content(self, index: int) -> bytes:
        shard, offset, size = self.places[index].tolist()
        with open(self.shards[shard], "rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise OSError("the shard ends before it")
        return content
