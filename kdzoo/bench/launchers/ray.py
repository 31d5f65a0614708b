"""Runs on a Ray cluster, on this machine or on many; needs ``pip install 'kdzoo[ray]'``.

A run is sent as its config and the files it goes on from, and comes back as the files it leaves, so
machines share nothing but the network. They need kdzoo installed, and the data set where its
``root`` says. The retries of a run whose machine is lost are Ray's.
"""

import io
import os
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

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


class Ended(NamedTuple):
    """What a run on another machine leaves: its folder's files, and why it failed, if it did."""

    files: Files
    failure: str | None


@launchers.register("ray")
class Ray:
    """A Ray cluster; a run that is lost with its machine is tried again elsewhere."""

    class Config(ComponentConfig):
        name: str = "ray"
        address: str | None = None
        """``auto``, ``HOST:PORT`` or ``ray://HOST:PORT`` of a cluster; left out, a new one here."""
        cpus: Annotated[float, Field(gt=0)] = 1.0
        """CPU cores that a run is given, and threads it uses."""
        gpus: Annotated[float, Field(ge=0)] | None = None
        """GPUs that a run is given; 0.5 lets two runs share one. Left out, one where there are."""
        retries: Annotated[int, Field(ge=0)] = 3
        """How often a run is tried again when its machine is lost; a run that fails is not."""

    def __init__(self, config: Config, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        self._ray = _connect(config.address)
        there = self._ray.cluster_resources()
        gpus = config.gpus
        if gpus is None:
            wanted = any(run.device in ("auto", "cuda") for run in configs)
            gpus = 1.0 if wanted and there.get("GPU", 0) else 0.0
        room = _room(there, config.cpus, gpus)
        self.slots = max(1, min(room if jobs == "auto" else jobs, len(configs)))
        self.why = (
            f"{_resources(there)} in the cluster, a run is given {config.cpus:g} and {gpus:g}"
        )
        self._task = self._ray.remote(
            num_cpus=config.cpus,
            num_gpus=gpus,
            max_retries=config.retries,
            max_calls=1,  # a process a run, so that no run pays for another's memory or crash
        )(train_away)
        self._lock = threading.Lock()
        self._running: set[Any] = set()
        self._stopped = False

    def carry_out(
        self, config: RunConfig, folder: RunFolder, needs: Sequence[RunFolder], slot: int
    ) -> None:
        out = expand_user(config.out)
        with folder.locked():
            sent = pack(out, [folder.path, *(need.path for need in needs)])
            ended = self._wait_for(config, folder.path.relative_to(out), sent)
            unpack(ended.files, out, last=folder.result)
        if ended.failure is not None:
            raise LaunchError(ended.failure)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for run in self._running:
                self._ray.cancel(run, force=True)

    def _wait_for(self, config: RunConfig, place: Path, sent: Files) -> Ended:
        with self._lock:
            if self._stopped:
                raise LaunchError("The bench was stopped.")
            run = self._task.remote(config.model_dump(mode="json"), str(place), sent)
            self._running.add(run)
        try:
            return self._ray.get(run)
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise LaunchError(f"Ray lost the run: {lines[-1] if lines else error!r}") from None
        finally:
            with self._lock:
                self._running.discard(run)


def train_away(settings: dict[str, Any], place: str, sent: Files) -> Ended:
    """Train one run in a folder of its own; carried out by a Ray worker.

    Args:
        settings: the run's config.
        place: the run's folder, below the folder of all runs.
        sent: what it goes on from.
    """
    from kdzoo.training.display import Lines
    from kdzoo.training.run import train

    log = io.StringIO()
    with tempfile.TemporaryDirectory() as out:
        unpack(sent, Path(out))
        config: RunConfig = validate(RunConfig, {**settings, "out": out})
        failure = None
        try:
            with redirect_stdout(log), redirect_stderr(log):
                trained = train(config, Lines(make_console(file=log, width=200)))
            if trained.path != Path(out) / place:
                failure = "The data or the network are not the same on the machine that trained it."
        except UserError as error:
            failure = str(error)
        except Exception as error:  # whatever it is, the bench goes on and its log tells
            failure = f"{type(error).__name__}: {error}"
        files = pack(Path(out), [Path(out) / place])
    return Ended(_with_log(files, place, log.getvalue()), failure)


def pack(base: Path, folders: Iterable[Path]) -> Files:
    """The files of some folders, by path below ``base``, but for locks and temporary ones."""
    return {
        str(path.relative_to(base)): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def unpack(files: Files, base: Path, last: Path | None = None) -> None:
    """Write files below ``base``, each at once; the one that says that all is done comes last."""
    for name in sorted(files, key=lambda name: base / name == last):
        with replacing(base / name) as temporary:
            temporary.write_bytes(files[name])


def _with_log(files: Files, place: str, text: str) -> Files:
    log = str(RunFolder(Path(place)).log)
    return {**files, log: files.get(log, b"") + text.encode()}


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


def _room(there: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many runs the cluster has cores and GPUs for.

    Raises:
        UserError: it has not enough for one.
    """
    room = int(there.get("CPU", 0) // cpus)
    if gpus:
        room = min(room, int(there.get("GPU", 0) / gpus))
    if room == 0:
        raise UserError(
            f"The cluster has {_resources(there)}; a run "
            f"asks for {cpus:g} and {gpus:g}. Lower launcher.cpus or launcher.gpus."
        )
    return room


def _resources(there: Mapping[str, float]) -> str:
    return f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
