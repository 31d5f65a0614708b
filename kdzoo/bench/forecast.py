"""How far a bench is: what its runs have reached, and how long the rest may take."""

import json
import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from kdzoo.bench.board import OPEN, Board, Entry, State
from kdzoo.errors import UserError
from kdzoo.training.run_folder import RunFolder


@dataclass(frozen=True)
class Progress:
    """What a run has reached so far.

    Attributes:
        epochs: finished ones.
        student: its latest accuracy, in percent; None before the first evaluation.
        seconds: what the finished epochs took.
    """

    epochs: int
    student: float | None
    seconds: float


def progress(folder: RunFolder) -> Progress:
    """Read from the run's metrics; nothing yet where there are none."""
    try:
        lines = folder.metrics.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        judged = [record["eval"] for record in records if "eval" in record]
        student = float(judged[-1]["student"]["top1"]) if judged else None
        return Progress(len(records), student, sum(record["seconds"] for record in records))
    except (OSError, ValueError, LookupError, TypeError):
        return Progress(0, None, 0.0)


def student_of(folder: RunFolder) -> float | None:
    """The accuracy of a finished run's student, in percent; None where it cannot be read."""
    try:
        return float(folder.read_result()["last"]["student"]["top1"])
    except (UserError, LookupError, TypeError, ValueError):
        return None


class Forecast:
    """Guesses the time left from the runs that are finished and from those that are under way."""

    def __init__(self, board: Board, slots: int) -> None:
        self._board = board
        self._slots = slots
        self._known: dict[Entry, float] = {}

    def seconds_left(self) -> float | None:
        """Of the whole bench; None while nothing is known that a guess could build on."""
        entries = self._board.entries
        for entry in entries:
            if entry.state is State.FINISHED and entry not in self._known:
                self._known[entry] = _seconds(entry.folder)
        typical = _Typical({e: s for e, s in self._known.items() if not math.isnan(s)})
        rests = [_rest(entry, typical) for entry in entries if entry.state is State.RUNNING]
        rests += [typical.of(entry) for entry in entries if entry.state in OPEN]
        if any(map(math.isnan, rests)):
            return None
        return max(sum(rests) / self._slots, max(rests, default=0.0))


class _Typical:
    """What a run may take: the mean of its row, else of its backbone and data, else of all."""

    def __init__(self, known: Mapping[Entry, float]) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for entry, seconds in known.items():
            for group in _groups(entry):
                self._seconds[group].append(seconds)

    def of(self, entry: Entry) -> float:
        """Seconds; NaN where nothing is known."""
        known = (self._seconds[group] for group in _groups(entry) if group in self._seconds)
        return fmean(next(known, [math.nan]))


def _groups(entry: Entry) -> list[tuple[str, ...]]:
    cell = entry.cell
    return [(cell.dataset, cell.backbone, cell.method), (cell.dataset, cell.backbone), ()]


def _rest(entry: Entry, typical: _Typical) -> float:
    reached = progress(entry.folder)
    if reached.epochs:
        left = max(0, entry.cell.config.epochs - reached.epochs)
        return reached.seconds / reached.epochs * left
    guess = typical.of(entry)
    return guess if math.isnan(guess) else max(0.0, guess - (time.monotonic() - entry.started))


def _seconds(folder: RunFolder) -> float:
    try:
        return float(folder.read_result()["seconds"])
    except (UserError, LookupError, TypeError, ValueError):
        return math.nan


def duration(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
