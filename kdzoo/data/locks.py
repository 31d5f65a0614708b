"""A lock under which one process makes what others wait for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 3.0
"""Seconds of waiting without a word."""

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Wait for a lock, and say so where it takes time; gives whether there is one."""
    lock = FileLock(path, fallback_to_soft=False)
    # a folder that cannot be written is reported when the entry is; some file systems have no locks
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            logger.warning("Waiting for another process that is preparing the same images.")
            lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()
