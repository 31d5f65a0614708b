"""Stamps of files and folders: what tells, without reading them, that they have changed."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

NOTHING = (0, 0)
"""The stamp of what is not there, such as where a link leads to nowhere."""

PROBES = 256
SLOW = 50e-6
"""Seconds that a stamp takes at least where files lie on another machine."""
THREADS = 32
"""That ask at once there; on this machine one is the fastest."""

_watched: ContextVar[set[str] | None] = ContextVar("watched", default=None)


def stamp(status: os.stat_result) -> tuple[int, int]:
    """The size in bytes, and the time of the last change in nanoseconds."""
    # the latter also moves where a file is replaced by one that pretends to be as old
    return status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)


def stamps_of(paths: Sequence[str]) -> np.ndarray:
    """The stamps of what lies at the paths, int64 [N, 2]; links are followed."""
    started = time.perf_counter()
    parts = [_stamps(paths[:PROBES])]
    rest = paths[PROBES:]
    if time.perf_counter() - started < SLOW * PROBES:
        parts.append(_stamps(rest))
    else:
        size = max(1, -(-len(rest) // THREADS))
        with ThreadPoolExecutor(THREADS) as threads:
            shares = [rest[at : at + size] for at in range(0, len(rest), size)]
            parts += threads.map(_stamps, shares)
    return np.concatenate(parts)


def _stamps(paths: Sequence[str]) -> np.ndarray:
    found = []
    for path in paths:
        try:
            found.append(stamp(os.stat(path)))
        except OSError:
            found.append(NOTHING)
    return np.array(found, np.int64).reshape(-1, 2)


@contextmanager
def watching() -> Iterator[set[str]]:
    """The paths that :func:`watch` is told of meanwhile."""
    found: set[str] = set()
    before = _watched.set(found)
    try:
        yield found
    finally:
        _watched.reset(before)


def watch(path: str | os.PathLike[str]) -> None:
    """Say that what is found depends on this file or folder, besides the images themselves."""
    watched = _watched.get()
    if watched is not None:
        watched.add(os.fspath(path))
