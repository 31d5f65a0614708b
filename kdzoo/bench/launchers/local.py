"""Runs on this machine, each in a subprocess, with its share of the threads, GPUs and memory."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdzoo.bench.launchers.base import Jobs, LaunchError
from kdzoo.bench.launchers.machine import cores, free_memory
from kdzoo.bench.launchers.sharing import Choice, memory_a_run, on_cores
from kdzoo.component import ComponentConfig
from kdzoo.config import RunConfig
from kdzoo.registry import launchers

if TYPE_CHECKING:
    from kdzoo.training.run_folder import RunFolder

GRACE = 20.0
"""Seconds that a run has to end by itself once it is asked to."""


@launchers.register("local")
class Local:
    """Subprocesses: a run that crashes takes nothing else with it."""

    class Config(ComponentConfig):
        name: str = "local"

    def __init__(self, config: Config, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        self._cpus, self._gpus = cores(), _gpus(configs)
        self._runs = len(configs)
        from kdzoo.bench.launchers.trial import (
            Trial,  # with torch, for which kdzoo show does not wait
        )

        self._trial: Trial | None = None
        if jobs != "auto":
            self._choice = Choice(jobs, "as jobs= says")
        elif self._gpus:
            self._trial = Trial(len(self._gpus), self._cpus, _gpu_memory)
        elif (shared := _shared_devices(configs)) is not None:
            self._choice = Choice(1, f"how many fit {shared} is not measured; jobs=N sets it")
        else:
            threads = max((config.training.threads or 1 for config in configs), default=1)
            self._choice = on_cores(self._cpus, threads, free_memory(), *memory_a_run(configs))
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @property
    def slots(self) -> int:
        return max(1, min(self._chosen.jobs, self._runs))

    @property
    def why(self) -> str:
        return self._chosen.why

    @property
    def _chosen(self) -> Choice:
        return self._choice if self._trial is None else self._trial.choice

    def carry_out(
        self, config: RunConfig, folder: "RunFolder", needs: Sequence["RunFolder"], slot: int
    ) -> None:
        log = folder.log
        with log.open("ab") as output:
            process = self._start(folder, slot, output.fileno())
            trial = self._trial
            code = process.wait() if trial is None else trial.watch(process, config, folder, slot)
        with self._lock:
            self._running.discard(process)
        if code != 0:
            raise LaunchError(why_it_ended(code, log))

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
        jobs = max(self.slots, slot + 1)
        # Where a trial decides, it has left room for larger runs than the one it measured.
        share = shares(jobs, self._cpus, self._gpus, divided=self._trial is None)[slot]
        with self._lock:
            if self._stopped:
                raise LaunchError("The bench was stopped.")
            process = subprocess.Popen(
                [sys.executable, "-m", "kdzoo", "run", str(folder.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **share},
                start_new_session=True,  # Ctrl-C is for the bench, which then asks its runs to end
            )
            self._running.add(process)
        return process


def shares(jobs: int, cpus: int, gpus: Sequence[str], divided: bool = True) -> list[dict[str, str]]:
    """The environment of each of ``jobs`` runs at a time: its threads, its GPU and its memory.

    Args:
        jobs: how many.
        cpus: cores to divide.
        gpus: names for CUDA_VISIBLE_DEVICES; runs are dealt out to them in turn.
        divided: whether runs on one GPU are kept to their share of its memory.
    """
    threads = str(max(1, cpus // jobs))
    environments = []
    for slot in range(jobs):
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if gpus:
            gpu = slot % len(gpus)
            together = len(range(gpu, jobs, len(gpus)))
            environment["CUDA_VISIBLE_DEVICES"] = gpus[gpu]
            if divided and together > 1:
                # A run that wants more than its share fails; its neighbours do not.
                environment["PYTORCH_CUDA_ALLOC_CONF"] = (
                    f"per_process_memory_fraction:{1 / together:.4f}"
                )
        environments.append(environment)
    return environments


def _gpus(configs: Sequence[RunConfig]) -> list[str]:
    """The GPUs to deal out; none if a run names its device itself."""
    if any(config.device not in ("auto", "cuda") for config in configs):
        return []
    import torch  # what the launcher is and can be told is known without it

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def _shared_devices(configs: Sequence[RunConfig]) -> str | None:
    """The settings of runs of which some are on a GPU that is not dealt out; None where none is."""
    from kdzoo.training.device import choose_device

    settings = {config.device for config in configs}
    kinds = {choose_device("auto").type if one == "auto" else one for one in settings}
    return None if kinds <= {"cpu"} else f"device={', '.join(sorted(settings))}"


def _gpu_memory() -> int:
    """Of the smallest one."""
    import torch

    gpus = range(torch.cuda.device_count())
    return min(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)


def why_it_ended(code: int, log: Path) -> str:
    """The reason of an exit code that is not 0, in a line: a signal, or the last line printed."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " Did memory run out? Fewer jobs= need less." if name == "SIGKILL" else ""
        return f"It was ended by {name}.{hint}"
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1].removeprefix("error: ") if lines else "It printed nothing."
    return last if last.endswith((".", "?", "!")) else f"{last}."
