"""``jobs=auto`` on GPUs: the first run measures how many are to share one."""

import subprocess
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

from kdzoo.bench.launchers.sharing import Choice, most_on_gpu, on_gpu
from kdzoo.bench.progress import read_epochs_so_far, read_progress

if TYPE_CHECKING:
    from kdzoo.training.run_folder import RunFolder

EPOCHS = 3
"""Epochs over which the pace is measured, after one that does not count: something began in it."""
LOOK = 1.0
"""Seconds between looks at what the first run has reached."""


class Trial:
    """Lets one more run beside the first one for as long as that is faster in all.

    Slot 0 holds the run that is measured; slots are dealt out to GPUs in turn, so that slot
    ``gpus * n`` is the run that joins it as the one after ``n``.

    Args:
        gpus: how many there are.
        cores: of the host.
        memory: tells the bytes of a GPU.
    """

    def __init__(self, gpus: int, cores: int, memory: Callable[[], int]) -> None:
        self.choice = Choice(gpus, "one a GPU, until the first has measured whether to share")
        self._gpus = gpus
        self._cores = max(1, cores // gpus)
        self._memory = memory
        self._seconds: dict[int, float] = {}
        self._together = 1
        self._counted_from: int | None = 1
        self._joined: tuple[RunFolder, int] | None = None
        self._open = True

    def watch(self, process: subprocess.Popen[bytes], folder: "RunFolder", slot: int) -> int:
        """Wait for a run's exit code; meanwhile, the first run's pace is measured."""
        if slot and slot == self._gpus * (self._together - 1):
            self._joined = folder, read_progress(folder).epochs
        if slot or not self._open:
            return process.wait()
        while True:
            try:
                code = process.wait(LOOK)
                break
            except subprocess.TimeoutExpired:
                self.look(folder)
        if self._open:
            self._settle(max(self._seconds, default=1), "the first run ended before more was tried")
        return code

    def look(self, folder: "RunFolder") -> None:
        """See how far the first run is, and decide as soon as enough is known."""
        if not self._open:
            return
        epochs = read_epochs_so_far(folder)
        if self._counted_from is None:
            if self._joined is None or read_progress(self._joined[0]).epochs <= self._joined[1]:
                return  # it is still starting
            self._counted_from = len(epochs) + 1
        seconds = [epoch.seconds for epoch in epochs[self._counted_from :]]
        if len(seconds) < EPOCHS:
            return
        self._seconds[self._together] = median(seconds)
        peak = max(epoch.peak_memory or 0 for epoch in epochs)
        most = most_on_gpu(self._memory(), peak, self._cores)
        count = on_gpu(self._seconds, most)
        if count in self._seconds:
            self._settle(count, self._told(most))
            return
        self._together, self._counted_from, self._joined = count, None, None
        self.choice = Choice(self._gpus * (count - 1) + 1, f"trying out {count} on one GPU")

    def _settle(self, count: int, why: str) -> None:
        self._open = False
        self.choice = Choice(self._gpus * count, f"{count} a GPU; {why}")

    def _told(self, most: int) -> str:
        rates = [
            f"{count}: {count * self._seconds[1] / seconds:.2f}"
            for count, seconds in self._seconds.items()
        ]
        limit = f", and memory and cores allow {most}" if max(self._seconds) == most else ""
        return f"throughput by runs on one GPU is {', '.join(rates)}{limit}"
