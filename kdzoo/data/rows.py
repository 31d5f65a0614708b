"""Images that are rows of a Hugging Face data set, which lies in Arrow files."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageFile

from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.encoded import EncodedImages
from kdzoo.data.image_files import open_image
from kdzoo.data.stamps import stamps_of

ROWS = 1000
"""Rows of which the sizes are asked at once."""


@dataclass(frozen=True)
class RowImages(EncodedImages):
    """Images in a column of a table.

    Attributes:
        table: a ``datasets.Dataset`` of which the column is all; its images are not decoded.
        column: its name.
        where: what the table is called in messages.
        rows: int64 [N], the rows of the N images.
        lengths: int64 [N], bytes of each image as it is stored.
        files: the paths that the table has in place of an image.
        pixel_range: what becomes 0 to 255 in images of more than 8 bits a channel.
    """

    table: Any
    column: str
    where: str
    rows: np.ndarray
    lengths: np.ndarray
    files: Sequence[str] = ()
    pixel_range: PixelRange | None = None

    @classmethod
    def of(cls, table: Any, column: str, where: str) -> "RowImages":
        """All images of a column; the attributes are those of the class."""
        from pyarrow import compute

        lengths: list[np.ndarray] = []
        files: list[str] = []
        for part in table.with_format("arrow").iter(batch_size=ROWS):
            stored = part.column(column)
            content = compute.struct_field(stored, "bytes")
            sizes = compute.fill_null(compute.binary_length(content), 0).to_numpy().astype(np.int64)
            outside = compute.is_null(content)
            paths = compute.struct_field(stored, "path").filter(outside).to_pylist()
            known = [path or "" for path in paths]
            sizes[outside.to_numpy()] = stamps_of(known)[:, 0]
            files += known
            lengths.append(sizes)
        rows = np.arange(len(table), dtype=np.int64)
        return cls(table, column, where, rows, np.concatenate(lengths or [rows]), files)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> np.ndarray:
        return self.lengths

    def version(self) -> Iterator[Any]:
        files = [os.path.realpath(file["filename"]) for file in self.table.cache_files]
        yield "\0".join([*files, self.column]).encode("utf-8", "surrogateescape")
        yield stamps_of([*files, *self.files]).tobytes()
        yield self.rows.tobytes()
        yield self.lengths.tobytes()

    def open(self, index: int, /) -> ImageFile.ImageFile:
        return open_image(self._content(index))

    def digest(self, index: int, /) -> bytes | None:
        with suppress(OSError, ValueError):
            return hashlib.sha256(self._content(index)).digest()
        return None

    def name(self, index: int, /) -> str:
        return f"the image in row {self.rows[index]} of {self.where}"

    def take(self, index: np.ndarray, /) -> "RowImages":
        return replace(self, rows=self.rows[index], lengths=self.lengths[index])

    def _content(self, index: int) -> bytes:
        stored = self.table[int(self.rows[index])][self.column]
        if stored is None:
            raise ValueError("the row has none")
        if stored["bytes"] is not None:
            return stored["bytes"]
        if stored["path"] is None:
            raise ValueError("the row has neither bytes nor a path")
        return Path(stored["path"]).read_bytes()
