"""``jobs=auto`` on GPUs: runs measure how many are to share one."""

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from kdzoo.bench.launchers.sharing import Choice, most_on_gpu, on_gpu
from kdzoo.bench.progress import read_epochs_so_far, read_progress
from kdzoo.config import RunConfig

if TYPE_CHECKING:
    from kdzoo.training.run_folder import RunFolder

EPOCHS = 3
"""Epochs over which the pace is measured, after one that does not count: something began in it."""
LOOK = 1.0
"""Seconds between looks at what the first run has reached."""


@dataclass
class _Run:
    """A run under way on the GPU that is watched."""

    folder: "RunFolder"
    begun_with: int = field(init=False)
    """Epochs of an earlier bench, which took as long as they did there."""

    def __post_init__(self) -> None:
        self.begun_with = read_progress(self.folder).epochs

    @property
    def trains(self) -> bool:
        """Whether it is past its start, and the first epoch, in which it compiles or records."""
        return read_progress(self.folder).epochs > self.begun_with


class Trial:
    """Lets one more run join those on the first GPU for as long as that is faster in all.

    Slots are dealt out to GPUs in turn, so the first GPU has slot 0, whose run is measured, and
    every slot ``gpus * n``. An epoch counts only where the same runs were at work on that GPU from
    its beginning to its end. A run that ends too soon leaves what it has measured to the next one
    of slot 0, if that differs from it in nothing but the seed.

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
        self._runs: dict[int, _Run] = {}
        self._kind: RunConfig | None = None
        self._counted_from: int | None = None
        self._open = True
        self._lock = threading.Lock()

    def watch(
        self,
        process: subprocess.Popen[bytes],
        config: RunConfig,
        folder: "RunFolder",
        slot: int,
    ) -> int:
        """Wait for a run's exit code; meanwhile, the pace of that in slot 0 is measured."""
        if slot % self._gpus:
            return process.wait()
        self.begin(config, folder, slot)
        try:
            while True:
                try:
                    return process.wait(LOOK if slot == 0 else None)
                except subprocess.TimeoutExpired:
                    self.look()
        finally:
            self.end(slot)

    def begin(self, config: RunConfig, folder: "RunFolder", slot: int) -> None:
        """A run begins on the first GPU."""
        with self._lock:
            self._runs[slot] = _Run(folder)
            self._counted_from = None
            if slot or not self._open:
                return
            kind = config.model_copy(update={"seed": 0})
            if self._kind != kind and self._together > 1:
                self._settle(max(self._seconds), "the first run ended before more was tried")
            elif self._kind != kind:
                self._kind, self._seconds = kind, {}

    def end(self, slot: int) -> None:
        """The run of a slot has ended."""
        with self._lock:
            del self._runs[slot]
            self._counted_from = None

    def look(self) -> None:
        """See how far the run of slot 0 is, and decide as soon as enough is known."""
        with self._lock:
            if self._open and 0 in self._runs:
                self._look(self._runs[0].folder)

    def _look(self, first: "RunFolder") -> None:
        epochs = read_epochs_so_far(first)
        if self._counted_from is None:
            if len(self._runs) == self._together and all(r.trains for r in self._runs.values()):
                self._counted_from = len(epochs) + 1  # the next one is under way
            return
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
        self._together, self._counted_from = count, None
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
