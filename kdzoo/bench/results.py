"""What a report needs of a finished run's ``result.json`` and of its other files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class _Lenient(BaseModel):
    """Later versions may write more than is read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(_Lenient):
    top1: FiniteFloat
    """Percent."""
    nll: FiniteFloat
    """Nats."""
    ece: FiniteFloat | None = None
    """Percent; not known of single peers."""


class Diversity(_Lenient):
    disagreement: FiniteFloat
    """Percent."""
    l2: FiniteFloat


class Judged(_Lenient):
    """The figures of one epoch on one split."""

    split: str
    student: Score
    ensemble: Score | None = None
    peers: tuple[Score, ...] = Field(min_length=1)
    diversity: Diversity | None = None


class BestEpoch(Judged):
    epoch: int


class Cost(_Lenient):
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
    last: Judged
    best: BestEpoch
    student: Cost
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
