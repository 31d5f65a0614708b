"""The live table of a bench: the status of every run, drawn anew as it changes."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.forecast import summary
from kdzoo.bench.progress import read_progress
from kdzoo.report.statistics import estimate


class LiveTable:
    """Keeps the table on a terminal, up to date; a view of a bench."""

    def __init__(self, console: Console, board: Board) -> None:
        table = StatusTable(board)
        self.live = Live(table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveTable":
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def changed(self, entry: Entry) -> None:
        self.live.refresh()

    def look(self) -> None:
        pass  # the table is drawn anew four times a second


FRAME = 6
"""Lines of the terminal that are not rows."""


class StatusTable:
    """For a Rich console: each run's accuracy, how far it is, or why not.

    A row is a data set, a backbone and a method, and has a column for each seed.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.spinner = Spinner("dots")
        self.rows: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in board.entries:
            if entry.in_tables:
                run = entry.run
                self.rows.setdefault((run.dataset, run.backbone, run.method), []).append(entry)

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
            grid.add_column(f"seed {entry.run.seed}", justify="right", no_wrap=True)
        grid.add_column("mean ± std", justify="right", no_wrap=True)
        before = None
        for row in self._visible(console.size.height - FRAME):
            dataset, backbone, method = row
            place = Text(f"{dataset} · {backbone}" if row[:2] != before else "", style="dim")
            entries = self.rows[row]
            grid.add_row(place, Text(method), *map(_shown, entries), _mean(entries))
            before = row[:2]
        yield grid
        self.spinner.update(text=Text(f" {summary(self.board)}", style="dim"))
        yield self.spinner

    def _visible(self, room: int) -> list[tuple[str, str, str]]:
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


def _shown(entry: Entry) -> Text:
    """Where a run stands, in a few characters."""
    match entry.state:
        case State.FINISHED:
            student = entry.outcome.student
            return Text("done" if student is None else f"{student:.2f}")
        case State.RUNNING:
            reached = read_progress(entry.folder)
            far = f"{reached.epochs}/{entry.run.config.epochs}"
            so_far = "" if reached.student is None else f" {reached.student:.1f}"
            return Text(f"{far}{so_far}", style="cyan")
        case State.FAILED:
            return Text("failed", style="bold red")
        case State.ELSEWHERE:
            return Text("elsewhere", style="yellow")
        case State.WAITING:
            return Text("·", style="dim")


def _mean(entries: Sequence[Entry]) -> Text:
    figures = [entry.outcome.student for entry in entries if entry.state is State.FINISHED]
    known = [figure for figure in figures if figure is not None]
    if not known:
        return Text()
    over = estimate(known)
    spread = "" if over.std is None else f" ± {over.std:.2f}"
    return Text(f"{over.mean:.2f}{spread}", style="bold")
