"""The lock of a run folder whose holder may have died on another machine."""

import time
from pathlib import Path

from kdzoo.files import Lock, lease_of, try_lock
from kdzoo.lease import is_elsewhere

LOOK = 1.0
"""Seconds between looks at a holder on another machine."""


def lock_if_dead(file: Path, patience: float) -> Lock | None:
    """A lock, as soon as a holder on another machine is known to be dead."""
    began = time.monotonic()
    seen = None
    while (lock := try_lock(file)) is None:
        lease = lease_of(file)
        try:
            content = lease.read_bytes()
        except FileNotFoundError:
            return try_lock(file)
        if seen not in (None, content) or not is_elsewhere(lease):
            return None
        seen = content
        if time.monotonic() - began >= patience:
            return None
        time.sleep(LOOK)
    return lock
