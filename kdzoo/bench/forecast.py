"""How far a bench is, in a sentence, and its ETA: how long the rest may take."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from kdzoo.bench.board import OPEN, Board, Entry, State
from kdzoo.bench.matrix import PlannedRun
from kdzoo.bench.progress import read_progress

Group = tuple[str, ...]
"""Runs that may take equally long: labels that they share."""


def summary(board: Board) -> str:
    """How many runs are where, and the time left."""
    parts = [f"{board.count(State.FINISHED)} of {board.count(*State)} runs finished"]
    for state, words in ((State.RUNNING, "running"), (State.FAILED, "failed")):
        if count := board.count(state):
            parts.append(f"{count} {words}")
    if count := board.count(State.ELSEWHERE):
        parts.append(f"{count} under way in another bench")
    if left := seconds_left(board):
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def seconds_left(board: Board) -> float | None:
    """Of the whole bench, at today's number of slots; None while there is nothing to go by.

    A run under way goes on as it has begun. One that has not begun trains for as long as the
    finished ones of its row, else of its backbone and data, else as all of them; what this bench's
    runs took beside their training, such as to start a process, comes on top.
    """
    typical, overhead = _typical(board.entries), _overhead(board.entries)
    rests = [
        _rest(entry, typical, overhead) for entry in board.entries if entry.state in UNFINISHED
    ]
    known = [rest for rest in rests if rest is not None]
    if len(known) < len(rests):
        return None
    return max(sum(known) / board.slots, max(known, default=0.0))


UNFINISHED = (*OPEN, State.RUNNING)


def _rest(entry: Entry, typical: Mapping[Group, float], overhead: float) -> float | None:
    """Seconds that a run still takes."""
    known = (typical[group] + overhead for group in _groups(entry.run) if group in typical)
    if entry.state is not State.RUNNING:
        return next(known, None)
    so_far = read_progress(entry.folder)
    if so_far.epochs:
        left = max(0, entry.run.config.epochs - so_far.epochs)
        return so_far.seconds / so_far.epochs * left
    whole = next(known, None)
    return None if whole is None else max(0.0, whole - (time.monotonic() - entry.started))


def _typical(entries: Sequence[Entry]) -> dict[Group, float]:
    """The mean seconds of the finished runs of each group, but for those kept of other machines."""
    seconds: dict[Group, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.state is State.FINISHED and entry.kept is None and entry.outcome.epochs:
            for group in _groups(entry.run):
                seconds[group].append(entry.outcome.seconds)
    return {group: fmean(several) for group, several in seconds.items()}


def _overhead(entries: Sequence[Entry]) -> float:
    """The mean seconds that this bench's runs took beside their training; 0 before one ends."""
    known = [entry.overhead for entry in entries if entry.overhead is not None]
    return fmean(known) if known else 0.0


def _groups(run: PlannedRun) -> Iterator[Group]:
    """The closest first."""
    yield run.dataset, run.backbone, run.method
    yield run.dataset, run.backbone
    yield ()


def duration(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
