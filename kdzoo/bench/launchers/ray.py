"""Runs on a Ray cluster, on this machine or on many; needs ``pip install 'kdzoo[ray]'``.

A run is sent as its config and the files it goes on from, and what it leaves comes back, while it
is under way as well, so machines share nothing but the network. They need kdzoo installed, and the
data set where its ``root`` says. A run whose machine is lost goes on elsewhere from what came back.
"""

import io
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field

from kdzoo.bench.launchers.base import Jobs, LaunchError
from kdzoo.component import ComponentConfig, validate
from kdzoo.config import RunConfig
from kdzoo.console import make_console
from kdzoo.errors import UserError
from kdzoo.files import replacing
from kdzoo.home import expand_user
from kdzoo.registry import launchers
from kdzoo.training.run_folder import RunFolder

Files = dict[str, bytes]
"""What is in a folder: contents by path below it."""


PROGRESS = 5.0
"""Seconds between reports of what a run has reached."""
ROUNDING = 1e-9
"""So that a tenth fits ten times."""
CHECKPOINT = 60.0
"""Seconds between checkpoints that come back, and the most that a lost machine costs, beside what
``training.checkpoint_every`` says."""


class Report(NamedTuple):
    """What comes back from a run on another machine, while it is under way and at its end.

    Attributes:
        files: those that are new.
        ended: whether it is the last one.
        failure: why the run failed, if it did.
    """

    files: Files
    ended: bool = False
    failure: str | None = None


class LostError(Exception):
    """The machine of a run is lost, or its process."""


def _whole_or_part(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError("a part of one GPU, such as 0.5, or whole ones")
    return gpus


@launchers.register("ray")
class Ray:
    """A Ray cluster; a run that is lost with its machine is tried again elsewhere."""

    class Config(ComponentConfig):
        name: str = "ray"
        address: str | None = None
        """``auto``, ``HOST:PORT`` or ``ray://HOST:PORT`` of a cluster; left out, a new one here."""
        cpus: Annotated[float, Field(gt=0)] = 1.0
        """CPU cores that a run is given, and threads it uses."""
        gpus: Annotated[float, Field(ge=0), AfterValidator(_whole_or_part)] | None = None
        """GPUs that a run is given; 0.5 lets two runs share one. Left out, one where there are."""
        retries: Annotated[int, Field(ge=0)] = 3
        """How often a run goes on elsewhere when its machine is lost; a run that fails does not."""

    def __init__(self, config: Config, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        self._ray = _connect(config.address)
        there = self._ray.cluster_resources()
        gpus = config.gpus
        if gpus is None:
            wanted = any(run.device in ("auto", "cuda") for run in configs)
            gpus = 1.0 if wanted and there.get("GPU", 0) else 0.0
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = room_for(nodes, config.cpus, gpus)
        self.slots = max(1, min(room if jobs == "auto" else jobs, len(configs)))
        self.why = (
            f"{_resources(there)} in the cluster, a run is given {config.cpus:g} and {gpus:g}"
        )
        self._retries = config.retries
        self._task = self._ray.remote(
            num_cpus=config.cpus,
            num_gpus=gpus,
            num_returns="streaming",
            max_retries=0,  # Ray would send what was sent at first, without what came back
            max_calls=1,  # a process a run, so that no run pays for another's memory or crash
        )(train_away)
        self._lock = threading.Lock()
        self._running: set[Any] = set()
        self._stopped = False

    def carry_out(
        self, config: RunConfig, folder: RunFolder, needs: Sequence[RunFolder], slot: int
    ) -> None:
        lost = 0
        with folder.locked():
            while True:
                try:
                    failure = self._try(config, folder, needs)
                    break
                except LostError as error:
                    lost += 1
                    if lost > self._retries:
                        raise LaunchError(f"Ray lost the run {lost} times: {error}") from None
        if failure is not None:
            raise LaunchError(failure)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for run in self._running:
                self._ray.cancel(run, force=True)

    def _try(self, config: RunConfig, folder: RunFolder, needs: Sequence[RunFolder]) -> str | None:
        """Why the run failed, if it did.

        Raises:
            LostError: it can go on elsewhere.
            LaunchError: the bench was stopped.
        """
        out = expand_user(config.out)
        sent = pack(out, [folder.path, *(need.path for need in needs)])
        place = str(folder.path.relative_to(out))
        with self._lock:
            self._refuse_if_stopped()
            run = self._task.remote(
                config.model_dump(mode="json"), place, sent, PROGRESS, CHECKPOINT
            )
            self._running.add(run)
        try:
            for reference in run:
                report: Report = self._ray.get(reference)
                unpack(report.files, out, last=folder.result)
                if report.ended:
                    return report.failure
            raise LostError("it ended without a word")
        except self._ray.exceptions.RayTaskError as error:  # kdzoo is not there, or another one
            raise LaunchError(
                f"The machine cannot carry the run out: {_last_line(error)}"
            ) from None
        except self._ray.exceptions.RayError as error:
            with self._lock:
                self._refuse_if_stopped()
            raise LostError(_last_line(error)) from None
        finally:
            with self._lock:
                self._running.discard(run)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise LaunchError("The bench was stopped.")


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


def train_away(
    settings: dict[str, Any],
    place: str,
    sent: Files,
    progress: float = PROGRESS,
    checkpoint: float = CHECKPOINT,
) -> Iterator[Report]:
    """Train one run in a folder of its own, and tell what it has reached; carried out by a worker.

    Args:
        settings: the run's config.
        place: the run's folder, below the folder of all runs.
        sent: what it goes on from.
        progress: seconds between reports.
        checkpoint: seconds between reports with a checkpoint.
    """
    log = io.StringIO()
    with tempfile.TemporaryDirectory() as out:
        base, folder = Path(out), RunFolder(Path(out) / place)
        unpack(sent, base)
        before = sent.get(str(folder.log.relative_to(base)), b"")
        failures: list[str] = []
        run = threading.Thread(target=_train, args=(settings, folder, base, log, failures))
        run.start()
        told = pack(base, [folder.path])
        due = time.monotonic() + checkpoint
        while run.is_alive():
            run.join(progress)
            files = pack(base, [folder.path])
            late = time.monotonic() >= due
            if late:
                due = time.monotonic() + checkpoint
            new = {
                name: content
                for name, content in files.items()
                if told.get(name) != content and (late or not name.endswith(".pt"))
            }
            new.pop(str(folder.result.relative_to(base)), None)  # it comes with the last report
            told.update(new)
            yield Report(_with_log(new, place, before, log))
        files = _with_log(pack(base, [folder.path]), place, before, log)
    yield Report(files, ended=True, failure=failures[0] if failures else None)


def _train(
    settings: dict[str, Any], folder: RunFolder, out: Path, log: io.StringIO, failures: list[str]
) -> None:
    from kdzoo.training.display import Lines
    from kdzoo.training.run import train

    try:
        config: RunConfig = validate(RunConfig, {**settings, "out": str(out)})
        with redirect_stdout(log), redirect_stderr(log):
            trained = train(config, Lines(make_console(file=log, width=200)))
        if trained.path != folder.path:
            failures.append(
                "The data or the network are not the same on the machine that trained it."
            )
    except UserError as error:
        failures.append(str(error))
    except Exception as error:  # whatever it is, the bench goes on and its log tells
        failures.append(f"{type(error).__name__}: {error}")


def pack(base: Path, folders: Iterable[Path]) -> Files:
    """The files of some folders, by path below ``base``, but for locks and temporary ones."""
    files = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                with suppress(FileNotFoundError):  # it makes room for another one just now
                    files[str(path.relative_to(base))] = path.read_bytes()
    return files


def unpack(files: Files, base: Path, last: Path | None = None) -> None:
    """Write files below ``base``, each at once; the one that says that all is done comes last."""
    for name in sorted(files, key=lambda name: base / name == last):
        with replacing(base / name) as temporary:
            temporary.write_bytes(files[name])


def _with_log(files: Files, place: str, before: bytes, log: io.StringIO) -> Files:
    return {**files, str(RunFolder(Path(place)).log): before + log.getvalue().encode()}


def _connect(address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # kdzoo reports to nobody
    try:
        import ray
    except ImportError:
        raise UserError("launcher=ray needs Ray: pip install 'kdzoo[ray]'.") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=None)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"There is no Ray cluster at {address}: {str(error).splitlines()[0]}"
            ) from None
    return ray


def room_for(nodes: Iterable[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """How many runs a cluster has cores and GPUs for; a part of a GPU is one of one GPU.

    Args:
        nodes: what each machine has, ``CPU`` and ``GPU``.
        cpus: for a run.
        gpus: for a run.

    Raises:
        UserError: there is not enough for one.
    """
    nodes = list(nodes)
    room = 0
    for node in nodes:
        here = int(node.get("CPU", 0) / cpus + ROUNDING)
        if 0 < gpus < 1:
            here = min(here, int(node.get("GPU", 0)) * int(1 / gpus + ROUNDING))
        elif gpus:
            here = min(here, int(node.get("GPU", 0) // gpus))
        room += here
    if room == 0:
        there = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
        raise UserError(
            f"The cluster has {_resources(there)}, and no machine of it what a run asks for, "
            f"{cpus:g} and {gpus:g}. Lower launcher.cpus or launcher.gpus."
        )
    return room


def _resources(there: Mapping[str, float]) -> str:
    return f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
