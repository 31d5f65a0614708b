"""Decoded images on disk, so that the second start of a run reads one file.

An entry is a folder ``KEY`` with ``images.npy`` and ``unreadable.json``. It is written under
another name and renamed when it is complete, and one process at a time builds it, under a lock.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from kdzoo.data.images import FileImages
from kdzoo.data.reader import Unreadable
from kdzoo.data.resize import ImageSize

FORMAT = "2"
"""To be changed whenever the same files would be decoded to other bytes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """Images that have been decoded.

    Attributes:
        array: uint8 [N, H, W, 3]; black where an image is unreadable.
        unreadable: which ones are.
    """

    array: np.ndarray
    unreadable: Unreadable


def default_folder() -> Path:
    """Where the cache is unless ``dataset.cache`` says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdzoo"


def key(images: FileImages, size: ImageSize) -> str:
    """What stands for the files, by name, size and time of change, and for how they are decoded."""
    digest = hashlib.sha256(f"{FORMAT}\n{size.height}x{size.width}\n{size.resize}\n".encode())
    digest.update("\n".join(images.paths).encode("utf-8", "surrogateescape"))
    digest.update(images.stamps.tobytes())
    return digest.hexdigest()[:32]


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
    found = _read(entry)
    if found is not None:
        return found
    with _lock(folder / f"{key}.lock"):
        found = _read(entry)  # another process may have built it meanwhile
        try:
            return found or _build(entry, shape, decode_into)
        except OSError as error:
            _warn(folder, error)
            array = np.zeros(shape, np.uint8)
            return Decoded(array, decode_into(array))


def _read(entry: Path) -> Decoded | None:
    try:
        unreadable = json.loads((entry / "unreadable.json").read_text(encoding="utf-8"))
        array = np.load(entry / "images.npy", mmap_mode="c")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("The cache entry %s is broken (%s) and is built anew.", entry, error)
        return None
    return Decoded(array, {int(position): why for position, why in unreadable.items()})


def _build(
    entry: Path, shape: tuple[int, ...], decode_into: Callable[[np.ndarray], Unreadable]
) -> Decoded:
    for left_over in entry.parent.glob(f"{entry.name}.*/"):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = entry.with_name(f"{entry.name}.{os.getpid()}")
    try:
        temporary.mkdir()
        array = _allocate(temporary / "images.npy", shape)
        decoded = Decoded(array, decode_into(array))
        array.flush()
        (temporary / "unreadable.json").write_text(json.dumps(decoded.unreadable), "utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _read(entry) or decoded


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


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    # a folder that cannot be written is reported when the entry is; some file systems have no locks
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _warn(folder: Path, error: Exception) -> None:
    logger.warning(
        "The decoded images cannot be cached in %s: %s. This run goes on without; the next one "
        "decodes them again. Make room there, or choose another folder with dataset.cache=DIR.",
        folder,
        error,
    )
