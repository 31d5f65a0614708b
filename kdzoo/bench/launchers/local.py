"""Runs on this machine, each in a subprocess, with its share of the threads, GPUs and memory."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil

from kdzoo.bench.launchers.base import Jobs, LaunchError
from kdzoo.component import ComponentConfig
from kdzoo.config import RunConfig
from kdzoo.registry import launchers

if TYPE_CHECKING:
    from kdzoo.training.run_folder import RunFolder

MEMORY_A_RUN = 2 * 2**30
"""Bytes of main memory that a run is taken to need when ``jobs=auto`` counts what fits."""
GRACE = 20.0
"""Seconds that a run has to end by itself once it is asked to."""


@launchers.register("local")
class Local:
    """Subprocesses: a run that crashes takes nothing else with it."""

    class Config(ComponentConfig):
        name: str = "local"

    def __init__(self, config: Config, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        cpus, gpus = _cpus(), _gpus(configs)
        self.slots = min(_jobs(cpus, gpus) if jobs == "auto" else jobs, len(configs)) or 1
        self._shares = shares(self.slots, cpus, gpus)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def carry_out(
        self, config: RunConfig, folder: "RunFolder", needs: Sequence["RunFolder"], slot: int
    ) -> None:
        log = folder.log
        with log.open("ab") as output:
            process = self._start(folder, slot, output.fileno())
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code != 0:
            raise LaunchError(_why(code, log.read_text(encoding="utf-8", errors="replace")))

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()  # not SIGINT: what nohup started in the background is deaf to it
        deadline = time.monotonic() + GRACE
        try:
            for process in running:
                process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in running:
                process.kill()

    def _start(self, folder: "RunFolder", slot: int, output: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise LaunchError("The bench was stopped.")
            process = subprocess.Popen(
                [sys.executable, "-m", "kdzoo", "run", str(folder.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._shares[slot]},
                start_new_session=True,  # Ctrl-C is for the bench, which then asks its runs to end
            )
            self._running.add(process)
        return process


def shares(jobs: int, cpus: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The environment of each of ``jobs`` runs at a time: its threads, its GPU and its memory.

    Args:
        jobs: how many.
        cpus: cores to divide.
        gpus: names for CUDA_VISIBLE_DEVICES; runs are dealt out to them in turn.
    """
    threads = str(max(1, cpus // jobs))
    environments = []
    for slot in range(jobs):
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if gpus:
            gpu = slot % len(gpus)
            together = len(range(gpu, jobs, len(gpus)))
            environment["CUDA_VISIBLE_DEVICES"] = gpus[gpu]
            if together > 1:
                # A run that wants more than its share fails; its neighbours do not.
                environment["PYTORCH_CUDA_ALLOC_CONF"] = (
                    f"per_process_memory_fraction:{1 / together:.4f}"
                )
        environments.append(environment)
    return environments


def _jobs(cpus: int, gpus: Sequence[str]) -> int:
    """One run a GPU; without one, a run a core as far as the memory goes."""
    if gpus:
        return len(gpus)
    return max(1, min(cpus, psutil.virtual_memory().available // MEMORY_A_RUN))


def _cpus() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(configs: Sequence[RunConfig]) -> list[str]:
    """The GPUs to deal out; none if a run names its device itself."""
    if any(config.device not in ("auto", "cuda") for config in configs):
        return []
    import torch  # what the launcher is and can be told is known without it

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def _why(code: int, log: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " Did memory run out? Fewer jobs= need less." if name == "SIGKILL" else ""
        return f"It was ended by {name}.{hint}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = lines[-1].removeprefix("error: ") if lines else "It printed nothing."
    return last if last.endswith((".", "?", "!")) else f"{last}."
