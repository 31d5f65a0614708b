"""A lock under which one process makes what others wait for."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Wait for a lock; gives whether there is one."""
    lock = FileLock(path, fallback_to_soft=False)
    # a folder that cannot be written is reported when the entry is; some file systems have no locks
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()
