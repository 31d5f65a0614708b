"""How many runs a machine carries out fastest, in all: what ``jobs=auto`` decides, and why."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.files import read_json

MEMORY_A_RUN = 2 * 2**30
"""Bytes of main memory that a run is taken to need while none like it has been measured."""
GAIN = 1.1
"""What one more run on a GPU has to bring, in epochs of all of them a second."""
CONTEXT = 2**30
"""Bytes on a GPU for what a process has there besides its tensors."""
GIB = 2**30


class Choice(NamedTuple):
    """So many runs at a time, and the line that says why."""

    jobs: int
    why: str


def on_cores(cores: int, threads: int, free: int, a_run: int, measured: bool) -> Choice:
    """Runs of few threads, as many as there are cores and memory for.

    Two runs of a thread each get through 1.14 to 1.35 times the work of one run of two threads.

    Args:
        cores: that may be used.
        threads: that a run asks for (``training.threads``); 1 where it leaves that open.
        free: bytes of main memory.
        a_run: bytes that a run takes.
        measured: whether they come from runs like these, or are a bound.
    """
    by_cores = max(1, cores // threads)
    by_memory = max(1, free // a_run)
    jobs = min(by_cores, by_memory)
    limit = (
        f"{_count(cores, 'core')}, {_count(threads, 'thread')} a run"
        if by_cores <= by_memory
        else f"{free / GIB:.1f} GiB of memory is free"
    )
    need = f"{a_run / GIB:.1f} GiB a run, {'measured' if measured else 'a bound'}"
    return Choice(jobs, f"{limit}; {need}")


def on_gpu(seconds: Mapping[int, float], most: int) -> int:
    """How many runs a GPU is to have next, while they are tried out one more at a time.

    Args:
        seconds: that an epoch of one and the same run takes, by how many runs share its GPU.
        most: runs that the memory and the host's cores allow.

    Returns:
        a number that is not in ``seconds`` is to be tried; one that is there is the decision.
    """
    count = 1
    while count in seconds and count < most:
        more = count + 1
        if more not in seconds:
            return more
        # Processes share a GPU evenly, so its neighbours are slowed down as this run is.
        if more / seconds[more] < GAIN * count / seconds[count]:
            return count
        count = more
    return count


def most_on_gpu(memory: int, peak: int, cores: int) -> int:
    """Runs that fit half of a GPU's memory, so that larger ones than the measured fit as well.

    Args:
        memory: of the GPU, in bytes.
        peak: bytes that a run was measured to take there.
        cores: of the host for each GPU; a run keeps one busy.
    """
    return max(1, min(cores, memory // 2 // (peak + CONTEXT)))


def memory_a_run(configs: Iterable[RunConfig]) -> tuple[int, bool]:
    """Bytes of main memory that one of these runs takes at most, and whether that was measured.

    Finished runs of the same method, backbone and data tell; the bound stands for those without.
    """
    from kdzoo.training.run_folder import place_of  # with torch, for which kdzoo show does not wait

    peaks = [_measured(place) for place in {place_of(config) for config in configs}]
    known = [MEMORY_A_RUN if peak is None else peak for peak in peaks]
    return max(known, default=MEMORY_A_RUN), None not in peaks


def _measured(place: Path) -> int | None:
    from kdzoo.training.run_folder import RunFolder

    peaks = []
    for path in place.glob("seed*/"):
        folder = RunFolder(path)
        try:
            if read_json(folder.environment)["cuda"] is None:  # else it is that of the GPU
                peaks.append(int(read_json(folder.result)["peak_memory"]))
        except (UserError, LookupError, TypeError, ValueError):
            continue
    return max(peaks, default=None)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
