"""Runs as jobs of SLURM, through submitit; needs ``pip install 'kdzoo[submitit]'``.

The nodes share the folder of the runs, so a job trains in the run's own folder, and what it has
reached is read there. A job that is preempted or at its time limit is requeued and goes on.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kdzoo.bench.launchers.base import Jobs, LaunchError
from kdzoo.bench.launchers.local import why_it_ended
from kdzoo.component import ComponentConfig
from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.registry import launchers

if TYPE_CHECKING:
    from kdzoo.training.run_folder import RunFolder

IN_THE_QUEUE = 64
"""Jobs that are submitted at a time under ``jobs=auto``; the scheduler decides which it starts."""
POLL = 1.0
"""Seconds between looks at a job; submitit asks the scheduler less often."""
LOOK = 0.2
"""Seconds between looks at the run, on the node."""
TIME_TO_SAVE = 60.0
"""Seconds that a run has to end by itself when its job is to be requeued."""


@launchers.register("submitit")
class Submitit:
    """Jobs of SLURM, requeued after preemption and time limits."""

    class Config(ComponentConfig):
        name: str = "submitit"
        cluster: Literal["slurm", "local"] = "slurm"
        """``slurm``, or ``local``: subprocesses on this machine, to try things out."""
        partition: str | None = None
        """The partition; left out, the scheduler's default."""
        time: Annotated[int, Field(ge=1)] = 240
        """Minutes of a job; a run that takes longer goes on in the next."""
        cpus: Annotated[int, Field(ge=1)] = 1
        """CPU cores that a run is given, and threads it uses."""
        gpus: Annotated[int, Field(ge=0)] = 0
        """GPUs that a run is given."""
        memory: Annotated[float, Field(gt=0)] | None = None
        """GiB of main memory that a run is given; left out, the scheduler's default."""
        requeues: Annotated[int, Field(ge=0)] = 20
        """How often a job may reach its time limit."""
        options: dict[str, Any] = {}
        """Other options of sbatch, such as ``account`` or ``qos``, by their names."""

    def __init__(self, config: Config, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        self._executor = _executor(config, expand_user(configs[0].out) / ".submitit")
        self._threads = config.cpus
        self.slots = max(1, min(IN_THE_QUEUE if jobs == "auto" else jobs, len(configs)))
        self.why = f"in the queue of {config.cluster}, which starts them as it has room"
        self._lock = threading.Lock()
        self._running: set[Any] = set()
        self._stopped = False

    def carry_out(
        self, config: RunConfig, folder: "RunFolder", needs: Sequence["RunFolder"], slot: int
    ) -> None:
        with self._lock:
            if self._stopped:
                raise LaunchError("The bench was stopped.")
            job = self._executor.submit(Job(folder.config.resolve(), folder.log.resolve()))
            self._running.add(job)
        try:
            while not job.done():
                time.sleep(POLL)
        finally:
            with self._lock:
                self._running.discard(job)
        if not folder.is_finished:
            raise LaunchError(_why(folder, job))

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for job in running:
            job.cancel(check=False)


class Job:
    """What a node carries out: ``kdzoo run``, stopped in time when the job is to be requeued."""

    def __init__(self, config: Path, log: Path) -> None:
        self.config = config
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        command = [sys.executable, "-m", "kdzoo", "run", str(self.config)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the scheduler's warning, which would end it, is for us
            )
            try:
                # Not wait(), whose lock the handler of the warning would find taken.
                while (code := self._process.poll()) is None:
                    time.sleep(LOOK)
            finally:
                self._end()
        if code:
            raise RuntimeError(why_it_ended(code, self.log))
        return code

    def checkpoint(self) -> Any:
        """Let the run save what it has; the job is submitted again."""
        from submitit.helpers import DelayedSubmission

        self._end()
        return DelayedSubmission(Job(self.config, self.log))

    def _end(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TIME_TO_SAVE)
        except subprocess.TimeoutExpired:
            process.kill()


def _executor(config: Submitit.Config, folder: Path) -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError(
            "launcher=submitit needs submitit: pip install 'kdzoo[submitit]'."
        ) from None
    settings: dict[str, Any] = {
        "name": "kdzoo",
        "timeout_min": config.time,
        "cpus_per_task": config.cpus,
        "gpus_per_node": config.gpus,
        "mem_gb": config.memory,
        "slurm_partition": config.partition,
        "slurm_setup": [f"export OMP_NUM_THREADS={config.cpus}"],
        "slurm_additional_parameters": {**config.options, "requeue": True},
    }
    if config.cluster == "local":
        settings = {"timeout_min": config.time, "gpus_per_node": config.gpus}
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=config.cluster, slurm_max_num_timeout=config.requeues
        )
        executor.update_parameters(**{k: v for k, v in settings.items() if v is not None})
    except (RuntimeError, ValueError, NameError, TypeError, AssertionError) as error:
        lines = str(error).splitlines() or [repr(error)]
        raise UserError(f"submitit cannot use {config.cluster} here: {lines[0]}") from None
    return executor


def _why(folder: "RunFolder", job: Any) -> str:
    """The last line of the log, and what the scheduler says of the job."""
    last = why_it_ended(1, folder.log) if folder.log.exists() else "It never began."
    return f"Job {job.job_id} is {job.state}: {last}"
