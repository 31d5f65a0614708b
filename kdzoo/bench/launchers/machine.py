"""What this process may use of its machine: cores and memory, less what its container limits."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")


def cores(root: Path = CGROUPS, ours: Path = OURS) -> int:
    """The cores that this process may use, by its affinity and its control groups (version 2)."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for group in _groups(root, ours):
        quota, period = [*_numbers(group / "cpu.max"), None, None][:2]
        if quota is not None and period:
            count = min(count, quota // period)
    return max(1, count)


def free_memory(root: Path = CGROUPS, ours: Path = OURS) -> int:
    """Bytes of main memory that are left to this process."""
    free = psutil.virtual_memory().available
    for group in _groups(root, ours):
        limit, used = (_numbers(group / f"memory.{name}")[:1] for name in ("max", "current"))
        if limit and used and limit[0] is not None and used[0] is not None:
            free = min(free, limit[0] - used[0])
    return max(0, free)


def _groups(root: Path, ours: Path) -> Iterator[Path]:
    """The control group of this process and those around it, each of which limits it."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        if line.startswith("0::/"):
            group = root / line.removeprefix("0::/")
            yield group
            while group != root:
                group = group.parent
                yield group


def _numbers(file: Path) -> list[int | None]:
    """The words of a file that are numbers; None for another, such as ``max``, no limit."""
    try:
        words = file.read_text().split()
    except OSError:
        return []
    return [int(word) if word.isdigit() else None for word in words]
