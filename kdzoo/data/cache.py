"""Decoded images on disk, so that the second start of a run reads one file.

An entry is a folder ``KEY`` with ``images.npy``, ``unreadable.json`` and a ``checksum`` of both. It
is written under another name and renamed when it is complete, and one process at a time builds it,
under a lock.
"""

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdzoo.data.encoded import EncodedImages
from kdzoo.data.images import ArrayImages, Images
from kdzoo.data.locks import locked
from kdzoo.data.reader import Unreadable
from kdzoo.data.resize import ImageSize
from kdzoo.files import read_bytes

FORMAT = "2"
"""To be changed whenever the same files would be decoded to other bytes."""

BLOCK = 2**22
"""Bytes that the checksum takes up at a time."""
BLOCKS = 64
"""How many blocks the checksum covers at most: all of 256 MiB, or so many of what is larger."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """Images that have been decoded.

    Attributes:
        array: uint8 [N, H, W, 3]; black where an image is unreadable.
        unreadable: which ones are.
        version: as of :class:`ArrayImages`.
    """

    array: np.ndarray
    unreadable: Unreadable
    version: str | None = None


def key(images: EncodedImages, size: ImageSize | None = None) -> str:
    """What stands for the files, by name, size and time of change, and for how they are decoded."""
    how = "" if size is None else f"{size.height}x{size.width}\n{size.resize}"
    digest = hashlib.sha256(f"{FORMAT}\n{how}\n".encode())
    for piece in images.version():
        digest.update(piece)
    if images.pixel_range is not None:
        digest.update(repr(tuple(images.pixel_range)).encode())
    return digest.hexdigest()[:32]


def known_key(images: Images, size: ImageSize | None = None) -> str | None:
    """What stands for images that came from files; None of others."""
    if isinstance(images, ArrayImages):
        return images.version
    return key(images, size) if isinstance(images, EncodedImages) else None


def cached(
    folder: Path, key: str, shape: tuple[int, ...], decode_into: Callable[[np.ndarray], Unreadable]
) -> Decoded:
    """The entry ``key`` of the cache in ``folder``, memory-mapped; built where it is missing.

    Where the cache cannot be written, e.g. on a full disk, a warning says so and nothing is left of
    the entry; the images are decoded and returned all the same.

    Args:
        folder: the cache's.
        key: of :func:`key`.
        shape: [N, H, W, 3] of the images.
        decode_into: fills an array of that shape, which holds zeros.
    """
    entry = folder / key
    with suppress(*BROKEN):
        return _read(entry, shape)
    with locked(folder / f"{key}.lock") as alone:
        try:
            return _read(entry, shape)  # another process may have built it meanwhile
        except BROKEN as error:
            if os.path.lexists(entry):
                logger.warning("The cache entry %s is broken (%s) and is built anew.", entry, error)
        try:
            if alone:
                _clear_away(entry)
            return _build(entry, shape, decode_into)
        except OSError as error:
            _warn(folder, error)
            array = np.zeros(shape, np.uint8)
            return Decoded(array, decode_into(array))


BROKEN = (OSError, EOFError, ValueError)
"""What reading an entry raises that is not whole."""


def _read(entry: Path, shape: tuple[int, ...]) -> Decoded:
    text = read_bytes(entry / "unreadable.json")
    checksum = read_bytes(entry / "checksum").decode()
    images = entry / "images.npy"
    if not images.is_file():
        raise OSError("images.npy is no file")
    if checksum != _checksum(images, text):
        raise ValueError("its checksum is another")
    array = np.load(images, mmap_mode="c")
    if (array.shape, array.dtype) != (shape, np.uint8):
        raise ValueError(f"images.npy holds {array.dtype} {array.shape}")
    unreadable = json.loads(text)
    return Decoded(array, {int(position): why for position, why in unreadable.items()})


def _checksum(images: Path, unreadable: bytes) -> str:
    content = np.memmap(images, np.uint8, "r")
    blocks = range(0, content.size, BLOCK)
    checksum = zlib.crc32(unreadable)
    for start in blocks[:: -(-len(blocks) // BLOCKS)]:
        checksum = zlib.crc32(content[start : start + BLOCK].data, checksum)
    return f"{checksum:08x}"


def _build(
    entry: Path, shape: tuple[int, ...], decode_into: Callable[[np.ndarray], Unreadable]
) -> Decoded:
    temporary = entry.with_name(f"{entry.name}.{os.getpid()}")
    try:
        temporary.mkdir()
        array = _allocate(temporary / "images.npy", shape)
        decoded = Decoded(array, decode_into(array))
        array.flush()
        unreadable = json.dumps(decoded.unreadable).encode()
        (temporary / "unreadable.json").write_bytes(unreadable)
        (temporary / "checksum").write_text(
            _checksum(temporary / "images.npy", unreadable), "utf-8"
        )
        _remove(entry)
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _read(entry, shape)  # unlike in the array above, writes do not reach the file


def _clear_away(entry: Path) -> None:
    """Remove what killed processes have left of an entry; nobody else may be at work on it."""
    for left_over in entry.parent.glob(f"{entry.name}.*/"):
        shutil.rmtree(left_over, ignore_errors=True)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def _allocate(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new array in a file, all of whose bytes have their place on the disk.

    Raises:
        OSError: the file cannot be written, or the disk is too full for it. Found out later, when
            the array is written, a full disk would end the process.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with path.open("r+b") as file:
        size = path.stat().st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.seek(array.offset)
            file.write(bytes(size - array.offset))
    return array


def _warn(folder: Path, error: Exception) -> None:
    logger.warning(
        "The decoded images cannot be cached in %s: %s. This run goes on without; the next one "
        "decodes them again. Make room there, or choose another folder with dataset.cache=DIR.",
        folder,
        error,
    )
