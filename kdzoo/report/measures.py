"""The figures that reports show of a run, and how they are shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kdzoo.report.run_files import Result


@dataclass(frozen=True)
class Measure:
    """One figure of a run.

    Attributes:
        key: its name in CSV and JSON.
        heading: its name in tables, with the unit.
        read: takes it from a result; None where the run has none.
        digits: decimals that are shown.
        better: which end is the better one, where one is.
        scale: what it is divided by to be shown.
        exact: whether it is the same for every seed.
    """

    key: str
    heading: str
    read: Callable[[Result], float | None]
    digits: int = 2
    better: Literal["high", "low"] | None = None
    scale: float = 1.0
    exact: bool = False


def _mean_peer(result: Result) -> float | None:
    peers = result.last.peers
    return sum(peer.top1 for peer in peers) / len(peers) if len(peers) > 1 else None


def _ensemble(result: Result) -> float | None:
    return result.last.ensemble.top1 if result.last.ensemble else None


def _disagreement(result: Result) -> float | None:
    return result.last.diversity.disagreement if result.last.diversity else None


def _l2(result: Result) -> float | None:
    return result.last.diversity.l2 if result.last.diversity else None


STUDENT = Measure("student", "student %", lambda r: r.last.student.top1, 2, "high")
MEAN_PEER = Measure("mean_peer", "mean peer %", _mean_peer, 2, "high")
ENSEMBLE = Measure("ensemble", "ensemble %", _ensemble, 2, "high")
BEST = Measure("best", "best epoch %", lambda r: r.best.student.top1, 2, "high")
NLL = Measure("nll", "NLL", lambda r: r.last.student.nll, 3, "low")
ECE = Measure("ece", "ECE %", lambda r: r.last.student.ece, 2, "low")
DISAGREEMENT = Measure("disagreement", "disagreement %", _disagreement)
L2 = Measure("l2", "L2", _l2, 3)
PARAMS = Measure("params", "params M", lambda r: r.student.params, 2, scale=1e6, exact=True)
MACS = Measure("macs", "MACs M", lambda r: r.student.macs, 1, scale=1e6, exact=True)
TRAINING_PARAMS = Measure(
    "training_params", "params in training M", lambda r: r.training_params, 2, scale=1e6, exact=True
)
SECONDS_PER_EPOCH = Measure("seconds_per_epoch", "s / epoch", lambda r: r.seconds_per_epoch, 2)
SECONDS = Measure("seconds", "training s", lambda r: r.seconds, 0)
PEAK_MEMORY = Measure("peak_memory", "peak memory MiB", lambda r: r.peak_memory, 0, scale=2**20)

MEASURES = (
    STUDENT,
    MEAN_PEER,
    ENSEMBLE,
    BEST,
    NLL,
    ECE,
    DISAGREEMENT,
    L2,
    PARAMS,
    MACS,
    TRAINING_PARAMS,
    SECONDS_PER_EPOCH,
    SECONDS,
    PEAK_MEMORY,
)
