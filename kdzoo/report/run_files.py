"""Reads a run folder: what a report shows of its files, or why there is nothing to show."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from kdzoo.compose import read_stored
from kdzoo.errors import UserError, printable
from kdzoo.files import read_json
from kdzoo.report.labels import plain
from kdzoo.training.run_folder import RunFolder


class _Lenient(BaseModel):
    """Later versions may write more than is read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(_Lenient):
    """How good one network's predictions, or the ensemble's, are on a split."""

    top1: FiniteFloat
    """Percent."""
    nll: FiniteFloat
    """Nats."""
    ece: FiniteFloat | None = None
    """Percent; not known of single peers."""


class PeerDiversity(_Lenient):
    """How much the peers differ, as means over pairs of them."""

    disagreement: FiniteFloat
    """Percent of the samples that a pair classifies differently."""
    l2: FiniteFloat
    """Distance of a pair's probabilities."""


class Evaluation(_Lenient):
    """The figures of one epoch on one split."""

    split: str
    student: Score
    ensemble: Score | None = None
    peers: tuple[Score, ...] = Field(min_length=1)
    diversity: PeerDiversity | None = None

    @property
    def mean_peer(self) -> float | None:
        """The peers' mean accuracy in percent; None where one peer is all there is."""
        several = len(self.peers) > 1
        return sum(peer.top1 for peer in self.peers) / len(self.peers) if several else None


class BestEpoch(Evaluation):
    """The epoch in which the student was best."""

    epoch: int


class StudentSize(_Lenient):
    """What deploying the student costs."""

    params: int
    macs: int
    """Multiply-adds for one image."""


class Result(_Lenient):
    """``result.json`` as ``kdzoo run`` writes it."""

    method: str
    backbone: str
    dataset: str
    seed: int
    epochs: int
    train_size: int
    val_size: int
    test_size: int
    last: Evaluation
    best: BestEpoch
    student: StudentSize
    training_params: int
    seconds: FiniteFloat
    seconds_per_epoch: FiniteFloat
    peak_memory: int
    """Bytes."""


@dataclass(frozen=True)
class EpochPoint:
    """One point of the learning curves, in percent."""

    epoch: int
    student: float
    ensemble: float | None


@dataclass(frozen=True)
class Run:
    """A finished run, by the labels of its place in the tables."""

    dataset: str
    backbone: str
    method: str
    folder: Path
    result: Result
    config: dict[str, Any]
    environment: dict[str, Any]
    curve: tuple[EpochPoint, ...]

    @property
    def seed(self) -> int:
        return self.result.seed


@dataclass(frozen=True)
class LeftOut:
    """A run that cannot be in the tables, and why."""

    folder: Path
    state: Literal["failed", "damaged", "twice", "unfinished", "not run"]
    reason: str

    def __post_init__(self) -> None:
        # Both are as a foreign folder has them, and go into pages and terminals.
        object.__setattr__(self, "reason", plain(printable(self.reason)))


def read_run(folder: RunFolder) -> Run | LeftOut:
    """The finished run in a folder, under its own names, or why there is none."""
    if not folder.is_finished:
        return _unfinished(folder)
    try:
        result = Result.model_validate(read_json(folder.result))
        config = read_stored(folder.config)
    except UserError as error:
        return LeftOut(folder.path, "damaged", str(error))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        reason = f"{folder.result} is not one of kdzoo's: {where}: {problem['msg']}."
        return LeftOut(folder.path, "damaged", reason)
    return Run(
        dataset=result.dataset,
        backbone=result.backbone,
        method=result.method,
        folder=folder.path,
        result=result,
        config=config,
        environment=_environment(folder),
        curve=tuple(_curve(folder)),
    )


def _unfinished(folder: RunFolder) -> LeftOut:
    failure = folder.read_failure()
    if failure is not None:
        return LeftOut(folder.path, "failed", f"{failure} The log is {folder.log}.")
    if folder.config.is_file():
        return LeftOut(folder.path, "unfinished", "It is not finished.")
    return LeftOut(folder.path, "not run", "It has not begun.")


def _environment(folder: RunFolder) -> dict[str, Any]:
    try:
        environment = read_json(folder.environment)
    except UserError:
        return {}
    return environment if isinstance(environment, dict) else {}


def _curve(folder: RunFolder) -> Iterator[EpochPoint]:
    """The learning curve, as far as the file can be read."""
    try:
        for line in folder.metrics.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if "eval" not in record:
                continue
            evaluation = record["eval"]
            ensemble = evaluation.get("ensemble")
            yield EpochPoint(
                int(record["epoch"]),
                float(evaluation["student"]["top1"]),
                float(ensemble["top1"]) if ensemble else None,
            )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
