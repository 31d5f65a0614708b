"""How a bench is watched: a live status table on a terminal, a line an event elsewhere."""

from typing import Protocol

from rich.console import Console

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.forecast import summary
from kdzoo.bench.live import LiveTable


class View(Protocol):
    """Shows a bench; used as a context manager around it."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *exception: object) -> None: ...

    def changed(self, entry: Entry) -> None:
        """A run has begun or ended; may be called from any thread."""


def choose_view(console: Console, board: Board, slots: int) -> View:
    """A table where someone watches a terminal, lines elsewhere."""
    view = LiveTable if console.is_terminal else EventLines
    return view(console, board, slots)


class EventLines:
    """A line for every run that begins or ends."""

    def __init__(self, console: Console, board: Board, slots: int) -> None:
        self.console = console
        self.board = board
        self.slots = slots

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
            self._say(f"done    {entry.run}{figure}  ({summary(self.board, self.slots)})")

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)
