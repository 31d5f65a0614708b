"""How a bench is watched: a live table on a terminal, a line an event elsewhere."""

from typing import Protocol

from rich.console import Console
from rich.live import Live

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.forecast import Forecast, student_of
from kdzoo.bench.picture import Picture, summary


class View(Protocol):
    """Shows a bench; used as a context manager around it."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *exception: object) -> None: ...

    def changed(self, entry: Entry) -> None:
        """A run has begun or ended; may be called from any thread."""


def choose_view(console: Console, board: Board, slots: int) -> View:
    """A table where someone watches a terminal, lines elsewhere."""
    view = LiveTable if console.is_terminal else Lines
    return view(console, board, slots)


class Lines:
    """A line for every run that begins or ends."""

    def __init__(self, console: Console, board: Board, slots: int) -> None:
        self.console = console
        self.board = board
        self.forecast = Forecast(board, slots)

    def __enter__(self) -> "Lines":
        if self.board.found_finished:
            self._say(
                f"{self.board.found_finished} of {self.board.count(*State)} runs are there already."
            )
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def changed(self, entry: Entry) -> None:
        if entry.state is State.RUNNING:
            self._say(f"start   {entry.cell}")
        elif entry.state is State.FAILED:
            self._say(f"FAILED  {entry.cell}: {entry.message}")
        elif entry.state is State.FINISHED:
            student = student_of(entry.folder)
            figure = "" if student is None else f": student {student:.2f} %"
            self._say(f"done    {entry.cell}{figure}  ({summary(self.board, self.forecast)})")

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class LiveTable:
    """A table of every method and seed that is always up to date."""

    def __init__(self, console: Console, board: Board, slots: int) -> None:
        picture = Picture(board, Forecast(board, slots))
        self.live = Live(picture, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveTable":
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def changed(self, entry: Entry) -> None:
        self.live.refresh()
