"""Decoded images on disk, so that the second start of a run reads one file.

An entry is a folder ``KEY`` with ``images.npy`` and ``unreadable.json``. It is written under
another name and renamed when it is complete, and one process at a time builds it.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock

from kdzoo.data.decode import Decoded
from kdzoo.data.framing import Frame
from kdzoo.data.images import FileImages

FORMAT = "1"
"""To be changed whenever the same files would be decoded to other bytes."""

logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the cache is unless ``dataset.cache`` says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdzoo"


def key(images: FileImages, frame: Frame) -> str:
    """What stands for the files, by name, size and time of change, and for how they are decoded."""
    digest = hashlib.sha256(f"{FORMAT}\n{frame}\n".encode())
    digest.update("\n".join(images.paths).encode("utf-8", "surrogateescape"))
    digest.update(images.stamps.tobytes())
    return digest.hexdigest()[:32]


def cached(folder: Path, key: str, build: Callable[[], Decoded]) -> Decoded:
    """The entry ``key`` of the cache in ``folder``, memory-mapped; built where it is missing.

    Where the cache cannot be written, e.g. on a full disk, a warning says so and nothing is left of
    the entry; the images that were decoded are returned all the same.
    """
    entry = folder / key
    found = _read(entry)
    if found is not None:
        return found
    with _lock(folder / f"{key}.lock"):
        found = _read(entry)  # another process may have built it meanwhile
        return found or _write(entry, build())


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


def _write(entry: Path, decoded: Decoded) -> Decoded:
    for left_over in entry.parent.glob(f"{entry.name}.*/"):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = entry.with_name(f"{entry.name}.{os.getpid()}")
    try:
        temporary.mkdir()
        with (temporary / "images.npy").open("wb") as file:
            header = np.lib.format.header_data_from_array_1_0(decoded.array)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(decoded.array.data)  # np.save would not say that the disk is full
            file.flush()
            os.fsync(file.fileno())
        (temporary / "unreadable.json").write_text(json.dumps(decoded.unreadable), "utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        temporary.rename(entry)
    except OSError as error:
        _warn(entry.parent, error)
        return decoded
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _read(entry) or decoded


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
