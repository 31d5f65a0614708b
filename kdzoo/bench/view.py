"""How a bench is watched: a live status table on a terminal, a line an event elsewhere."""

import time
from typing import Protocol

from rich.console import Console

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.forecast import summary
from kdzoo.bench.live import LiveTable
from kdzoo.bench.progress import read_progress
from kdzoo.console import print_line


class View(Protocol):
    """Shows a bench; used as a context manager around it."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *exception: object) -> None: ...

    def changed(self, entry: Entry) -> None:
        """A run has begun or ended; may be called from any thread."""

    def look(self) -> None:
        """Time has passed: runs that are under way have reached something."""


def choose_view(console: Console, board: Board) -> View:
    """A table where someone watches a terminal, lines elsewhere."""
    view = LiveTable if console.is_terminal else EventLines
    return view(console, board)


EVERY = 60.0
"""Seconds between lines about the runs under way."""


class EventLines:
    """A line for every run that begins or ends, and now and then for those under way."""

    def __init__(self, console: Console, board: Board) -> None:
        self.console = console
        self.board = board
        self.said = time.monotonic()

    def __enter__(self) -> "EventLines":
        if self.board.found_finished:
            self._say(
                f"{self.board.found_finished} of {self.board.count(*State)} runs are there already."
            )
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def changed(self, entry: Entry) -> None:
        if entry.state is State.RUNNING:
            self._say(f"start   {entry.run}")
        elif entry.state is State.FAILED:
            self._say(f"FAILED  {entry.run}: {entry.message}")
        elif entry.state is State.FINISHED:
            student = entry.outcome.student
            figure = "" if student is None else f": student {student:.2f} %"
            self._say(f"done    {entry.run}{figure}  ({summary(self.board)})")

    def look(self) -> None:
        if time.monotonic() - self.said < EVERY:
            return
        self.said = time.monotonic()
        for entry in self.board.entries:
            if entry.state is State.RUNNING:
                reached = read_progress(entry.folder)
                student = "" if reached.student is None else f", student {reached.student:.2f} %"
                epochs = f"epoch {reached.epochs}/{entry.run.config.epochs}"
                self._say(f"at work {entry.run}: {epochs}{student}")

    def _say(self, line: str) -> None:
        print_line(self.console, line)
