"""How a bench is watched: a live table on a terminal, a line an event elsewhere."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.forecast import Forecast, duration, progress, student_of
from kdzoo.report.statistics import estimate


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


Row = tuple[str, str, str]
"""Data set, backbone and method."""
FRAME = 6
"""Lines of the terminal that are not rows."""


class Picture:
    """For a Rich console: each run's accuracy, how far it is, or why not."""

    def __init__(self, board: Board, forecast: Forecast) -> None:
        self.board = board
        self.forecast = forecast
        self.spinner = Spinner("dots")
        self.rows: dict[Row, list[Entry]] = {}
        for entry in board.entries:
            if entry.in_tables:
                cell = entry.cell
                self.rows.setdefault((cell.dataset, cell.backbone, cell.method), []).append(entry)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        grid = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="dim",
        )
        grid.add_column("data · backbone")
        grid.add_column("method")
        for entry in next(iter(self.rows.values()), []):
            grid.add_column(f"seed {entry.cell.seed}", justify="right", no_wrap=True)
        grid.add_column("mean ± std", justify="right", no_wrap=True)
        before = None
        for row in self._visible(console.size.height - FRAME):
            dataset, backbone, method = row
            place = Text(f"{dataset} · {backbone}" if row[:2] != before else "", style="dim")
            entries = self.rows[row]
            grid.add_row(place, Text(method), *map(_shown, entries), _mean(entries))
            before = row[:2]
        yield grid
        self.spinner.update(text=Text(f" {summary(self.board, self.forecast)}", style="dim"))
        yield self.spinner

    def _visible(self, room: int) -> list[Row]:
        """As many rows as there is room for, from the first one with a run under way."""
        rows = list(self.rows)
        room = max(1, room)
        active = (
            index
            for index, row in enumerate(rows)
            if any(entry.state is State.RUNNING for entry in self.rows[row])
        )
        first = max(0, min(next(active, 0) - 1, len(rows) - room))
        return rows[first : first + room]


def summary(board: Board, forecast: Forecast) -> str:
    """How many runs are where, and the time left."""
    parts = [f"{board.count(State.FINISHED)} of {board.count(*State)} runs finished"]
    for state, words in ((State.RUNNING, "running"), (State.FAILED, "failed")):
        if count := board.count(state):
            parts.append(f"{count} {words}")
    if count := board.count(State.ELSEWHERE):
        parts.append(f"{count} under way in another bench")
    left = forecast.seconds_left()
    if left:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def _shown(entry: Entry) -> Text:
    """Where a run stands, in a few characters."""
    match entry.state:
        case State.FINISHED:
            student = student_of(entry.folder)
            return Text("done" if student is None else f"{student:.2f}")
        case State.RUNNING:
            reached = progress(entry.folder)
            far = f"{reached.epochs}/{entry.cell.config.epochs}"
            so_far = "" if reached.student is None else f" {reached.student:.1f}"
            return Text(f"{far}{so_far}", style="cyan")
        case State.FAILED:
            return Text("failed", style="bold red")
        case State.ELSEWHERE:
            return Text("elsewhere", style="yellow")
        case State.WAITING:
            return Text("·", style="dim")


def _mean(entries: Sequence[Entry]) -> Text:
    figures = [student_of(entry.folder) for entry in entries if entry.state is State.FINISHED]
    known = [figure for figure in figures if figure is not None]
    if not known:
        return Text()
    over = estimate(known)
    spread = "" if over.std is None else f" ± {over.std:.2f}"
    return Text(f"{over.mean:.2f}{spread}", style="bold")
