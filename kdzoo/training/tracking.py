"""What a tracker (TensorBoard, MLflow, Weights & Biases) is told of a run, by Accelerate's."""

import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.tracking import (
    GeneralTracker,
    MLflowTracker,
    TensorBoardTracker,
    WandBTracker,
    get_available_trackers,
)

from kdzoo.errors import ConfigError
from kdzoo.files import read_json, write_json

PROJECT = "kdzoo"
"""What trackers that group runs call the group."""
IDENTIFIERS = "tracker.json"
"""The file with the trackers' own names of a run."""


def check_tracker(name: str | None) -> None:
    """Make sure that a tracker can be imported.

    Raises:
        ConfigError: it is not installed.
    """
    if name is not None and name not in [str(one) for one in get_available_trackers()]:
        raise ConfigError(
            f"{name} is not installed: pip install 'kdzoo[{name}]'.", ("training", "tracker")
        )


@contextmanager
def tracked(
    name: str | None, folder: Path, say: Callable[[str], None], fresh: bool = False
) -> "Iterator[Tracking | None]":
    """The tracker's run for the time of a training; None where there is no tracker.

    It is connected to, and nothing in the folder is changed before :meth:`Tracking.begin`. Once it
    runs, a tracker that fails stops no training: what it lacks is said, and tried again.

    Args:
        name: ``tensorboard``, ``mlflow`` or ``wandb``.
        folder: of the run. The tracker's own name of it stands there, so that a run that goes on
            is the same one there.
        say: takes a line for the person who watches.
        fresh: begin another run there, whatever stands in the folder.

    Raises:
        ConfigError: the tracker does not start.
    """
    if name is None:
        yield None
        return
    try:
        tracking = TRACKERS[name](name, folder, say, fresh)
    except Exception as error:  # whatever it raises: no login, no server
        known = folder / IDENTIFIERS
        elsewhere = f" Remove {known} to begin another run there." if known.is_file() else ""
        raise ConfigError(
            f"{name} does not start: {_reason(error)} Nothing in {folder} was changed. "
            f"training.tracker=null goes on without it.{elsewhere}",
            ("training", "tracker"),
        ) from error
    try:
        yield tracking
    except BaseException:
        tracking.end(well=False)
        raise
    tracking.end(well=True)


class Tracking(ABC):
    """One run in one tracker; an epoch is a step there."""

    tracker: GeneralTracker

    def __init__(self, name: str, folder: Path, say: Callable[[str], None], fresh: bool) -> None:
        self.name = name
        self.folder = folder
        self.say = say
        self.title = "/".join(folder.parts[-4:])
        self.told = 0
        """How many epochs have been told in this process, or were known before."""
        self.connect(None if fresh else self._known().get(name))

    @abstractmethod
    def connect(self, identifier: str | None) -> None:
        """Make a run there, or take up the one of that name, and write nothing to it."""

    @abstractmethod
    def introduce(self, settings: dict[str, Any]) -> None:
        """Tell the settings; the folder is the run's from now on."""

    @abstractmethod
    def keep(self, files: Sequence[Path]) -> None:
        """Keep the student's files."""

    def has(self, figure: str, step: int) -> bool:
        """Whether the run there has that figure since an earlier attempt."""
        return False

    def begin(self, known: Mapping[str, Any]) -> None:
        """Config and environment, once the folder is the run's."""
        with self._forgiven("the settings"):
            self.introduce(_settings(known))

    def tell(self, records: Sequence[Mapping[str, Any]]) -> None:
        """The lines of ``metrics.jsonl``; what the tracker does not take is tried again next time.

        Args:
            records: of all epochs so far.
        """
        with self._forgiven(f"epoch {self.told + 1} or later"):
            for record in records[self.told :]:
                figures = {key: one for key, one in record.items() if key not in ("epoch", "eval")}
                judged = dict(record.get("eval", {}))
                if judged:
                    figures[judged.pop("split")] = judged
                self._log(figures, record["epoch"])
                self.told += 1

    def finish(self, result: Mapping[str, Any], files: Sequence[Path]) -> None:
        """The figures of ``result.json``, and the student's files."""
        with self._forgiven("the result"):
            self._log({"result": result}, result["epochs"])
            self.keep(files)

    def end(self, well: bool) -> None:
        """Let go of the run there; ``well``: the training came to its end."""
        with self._forgiven("the end of the run"):
            self.close(well)

    def close(self, well: bool) -> None:
        self.tracker.finish()

    def log(self, figures: dict[str, float], step: int) -> None:
        self.tracker.log(figures, step=step)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        figures = {
            key: value
            for key, value in _flat(values, "/")
            if isinstance(value, int | float) and not self.has(key, step)
        }
        if figures:
            self.log(figures, step)

    @contextmanager
    def _forgiven(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it raises: a lost server, a full disk
            self.say(f"{self.name} was not told of {what}: {_reason(error)} The folder has it.")

    def _known(self) -> dict[str, str]:
        file = self.folder / IDENTIFIERS
        return dict(read_json(file)) if file.is_file() else {}

    def _remember(self, identifier: str) -> None:
        write_json(self.folder / IDENTIFIERS, {**self._known(), self.name: identifier})


class TensorBoard(Tracking):
    """Event files in the run folder, written anew from its metrics when a run goes on."""

    def connect(self, identifier: str | None) -> None:
        self.earlier = [*(self.folder / "tensorboard").glob("*")]
        self.tracker = TensorBoardTracker("tensorboard", logging_dir=self.folder)
        self.tracker.start()

    def introduce(self, settings: dict[str, Any]) -> None:
        for path in self.earlier:
            _remove(path)
        self.tracker.store_init_configuration(settings)
        self.tracker.log({key: str(value) for key, value in settings.items()})

    def keep(self, files: Sequence[Path]) -> None:
        self.tracker.log({"student": "  \n".join(map(str, files))})


class MLflow(Tracking):
    """A run of the experiment ``kdzoo`` where ``MLFLOW_TRACKING_URI`` says."""

    def connect(self, identifier: str | None) -> None:
        import mlflow

        self.client = mlflow.MlflowClient()
        self.tracker = MLflowTracker(PROJECT, run_id=identifier, run_name=self.title)
        self.tracker.start()
        self.identifier: str = self.tracker.tracker.info.run_id
        self._look()

    def introduce(self, settings: dict[str, Any]) -> None:
        self._remember(self.identifier)
        there = self.client.get_run(self.identifier).data.params  # they can be told once
        new = {key: value for key, value in settings.items() if key not in there}
        self.tracker.store_init_configuration(new)

    def has(self, figure: str, step: int) -> bool:
        return step <= self.last.get(figure, 0)

    def log(self, figures: dict[str, float], step: int) -> None:
        try:
            self.tracker.log(figures, step=step)
        except Exception:
            self._look()  # some of them may have arrived
            raise

    def keep(self, files: Sequence[Path]) -> None:
        for file in files:
            self.tracker.log_artifact(str(file))

    def close(self, well: bool) -> None:
        import mlflow

        mlflow.end_run("FINISHED" if well else "FAILED")

    def _look(self) -> None:
        """Find out up to which step the run there has each figure."""
        figures = self.client.get_run(self.identifier).data.metrics
        self.last = {
            name: max(one.step for one in self.client.get_metric_history(self.identifier, name))
            for name in figures
        }


class WandB(Tracking):
    """A run of the project ``kdzoo``, offline where ``WANDB_MODE=offline`` says so.

    An offline run that goes on is written anew: W&B cannot go on with an offline file.
    """

    def connect(self, identifier: str | None) -> None:
        self.tracker = WandBTracker(
            PROJECT,
            id=identifier or uuid.uuid4().hex[:8],
            name=self.title,
            resume="allow",
            dir=str(self.folder),
        )
        self.tracker.start()
        self.run = self.tracker.tracker
        self.last = self.run.step - 1

    def introduce(self, settings: dict[str, Any]) -> None:
        self._remember(self.run.id)
        if self.run.offline:
            for earlier in (self.folder / "wandb").glob("offline-run-*"):
                if earlier.resolve() != Path(self.run.dir).resolve().parent:
                    _remove(earlier)
        self.tracker.store_init_configuration(settings)

    def has(self, figure: str, step: int) -> bool:
        return step <= self.last

    def log(self, figures: dict[str, float], step: int) -> None:
        self.tracker.log(figures, step=step, commit=True)  # or a kill loses it

    def finish(self, result: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Into the summary: a step that is told already takes no more figures."""
        with self._forgiven("the result"):
            self.run.summary.update(dict(_flat({"result": result}, "/")))
            self.keep(files)

    def keep(self, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"student-{self.run.id}", type="model")
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact)

    def close(self, well: bool) -> None:
        self.run.finish(exit_code=0 if well else 1)


TRACKERS: dict[str, type[Tracking]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def _flat(values: Any, between: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings and of lists of them, by their path."""
    nested = isinstance(values, list | tuple) and any(isinstance(one, Mapping) for one in values)
    pairs = enumerate(values) if nested else values.items()
    for key, value in pairs:
        inner = isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value)
        if isinstance(value, Mapping) or inner:
            yield from ((f"{key}{between}{path}", leaf) for path, leaf in _flat(value, between))
        else:
            yield str(key), value


def _settings(known: Mapping[str, Any]) -> dict[str, Any]:
    """What every tracker takes for settings."""
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in _flat(known, ".")
    }


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _reason(error: Exception) -> str:
    """Its first line, as a sentence."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."
