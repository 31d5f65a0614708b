"""How many processes may read images at once."""

import os


def available_cores() -> int:
    """The cores that this process may use: as many workers by default."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
