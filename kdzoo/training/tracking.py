"""What a tracker (TensorBoard, MLflow, Weights & Biases) is told of a run, by Accelerate's."""

import json
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
from kdzoo.files import write_json

PROJECT = "kdzoo"
"""What trackers that group runs call the group."""


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
    name: str | None, folder: Path, known: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> "Iterator[Tracking | None]":
    """The tracker's run for the time of a training; None where there is no tracker.

    Args:
        name: ``tensorboard``, ``mlflow`` or ``wandb``.
        folder: of the run. The tracker's own name of it stands there, so that a run that goes on
            is the same one there.
        known: config and environment.
        records: the epochs that are done; those that the tracker has not seen are told first.

    Raises:
        ConfigError: the tracker does not start.
    """
    if name is None:
        yield None
        return
    try:
        tracking = TRACKERS[name](folder, known)
    except Exception as error:  # whatever it raises: no login, no server
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{name} does not start: {reason} Nothing was trained. training.tracker=null goes on "
            "without it.",
            ("training", "tracker"),
        ) from error
    try:
        for record in records:
            tracking.epoch(record)
        yield tracking
    finally:
        tracking.tracker.finish()


class Tracking(ABC):
    """One run in one tracker; an epoch is a step there."""

    tracker: GeneralTracker

    def __init__(self, folder: Path, known: Mapping[str, Any]) -> None:
        self.folder = folder
        self.name = "/".join(folder.parts[-4:])
        self.seen = 0
        """The last epoch that the tracker knows of."""
        self.start({key: _plain(value) for key, value in _flat(known, ".")})

    @abstractmethod
    def start(self, known: dict[str, Any]) -> None:
        """Begin the run there, or go on with it."""

    @abstractmethod
    def student(self, files: Sequence[Path]) -> None:
        """Keep the student's files."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """A line of ``metrics.jsonl``, unless the tracker has it."""
        if record["epoch"] <= self.seen:
            return
        judged = dict(record.get("eval", {}))
        figures = {key: value for key, value in record.items() if key not in ("epoch", "eval")}
        if judged:
            figures[judged.pop("split")] = judged
        self.tracker.log(_figures(figures), step=record["epoch"])

    def result(self, result: Mapping[str, Any]) -> None:
        """The figures of ``result.json``."""
        self.tracker.log(_figures({"result": result}), step=result["epochs"])

    def _identifier(self) -> str | None:
        file = self.folder / "tracker.json"
        return json.loads(file.read_text())["id"] if file.is_file() else None

    def _remember(self, identifier: str) -> None:
        write_json(self.folder / "tracker.json", {"id": identifier})


class TensorBoard(Tracking):
    """Event files in the run folder, written anew from its metrics when a run goes on."""

    def start(self, known: dict[str, Any]) -> None:
        shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)
        self.tracker = TensorBoardTracker("tensorboard", logging_dir=self.folder)
        self.tracker.start()
        self.tracker.store_init_configuration(known)
        self.tracker.log({key: str(value) for key, value in known.items()})

    def student(self, files: Sequence[Path]) -> None:
        self.tracker.log({"student": "  \n".join(map(str, files))})


class MLflow(Tracking):
    """A run of the experiment ``kdzoo`` where ``MLFLOW_TRACKING_URI`` says."""

    def start(self, known: dict[str, Any]) -> None:
        import mlflow

        earlier = self._identifier()
        self.tracker = MLflowTracker(PROJECT, run_id=earlier, run_name=self.name)
        self.tracker.start()
        if earlier is None:
            self.tracker.store_init_configuration(known)  # parameters can be told once
            self._remember(self.tracker.tracker.info.run_id)
        else:
            history = mlflow.MlflowClient().get_metric_history(earlier, "train/loss")
            self.seen = max((metric.step for metric in history), default=0)

    def student(self, files: Sequence[Path]) -> None:
        for file in files:
            self.tracker.log_artifact(str(file))


class WandB(Tracking):
    """A run of the project ``kdzoo``, offline where ``WANDB_MODE=offline`` says so."""

    def start(self, known: dict[str, Any]) -> None:
        identifier = self._identifier() or uuid.uuid4().hex[:8]
        self._remember(identifier)
        self.tracker = WandBTracker(
            PROJECT, id=identifier, name=self.name, resume="allow", dir=str(self.folder)
        )
        self.tracker.start()
        self.tracker.store_init_configuration(known)
        self.seen = max(0, self.tracker.tracker.step - 1)

    def student(self, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"student-{self.tracker.tracker.id}", type="model")
        for file in files:
            artifact.add_file(str(file))
        self.tracker.tracker.log_artifact(artifact)


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


def _figures(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in _flat(values, "/") if isinstance(value, int | float)}


def _plain(value: Any) -> Any:
    """What every tracker takes for a setting."""
    return value if isinstance(value, bool | int | float | str) else str(value)
