"""A report in the terminal."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from kdzoo.report.labels import one_line
from kdzoo.report.summary import Report
from kdzoo.report.tables import Table, report_tables

GAP = 2
"""Spaces between columns."""
NARROWEST_LABEL = 10
"""Characters that a label's column keeps on the narrowest terminal."""
STYLES = {"best": "bold", "up": "green", "down": "red", "nothing": "dim"}


class TerminalReport:
    """The tables, what they depend on, and what was left out of them; for a Rich console.

    A table too wide for the terminal goes on below, under its row labels again: figures are never
    cut.
    """

    def __init__(self, report: Report) -> None:
        self.report = report

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        for table in report_tables(self.report):
            yield Text()
            yield Text(table.full_title, style="bold")
            for piece in _pieces(table, options.max_width):
                yield _rich_table(piece, options.max_width)
                yield Text()
            for note in table.notes:
                yield Text(note, style="dim")
        yield Text()
        for name, text in self.report.conditions:
            yield Text.assemble((f"{name}  ", "bold"), text)
        yield Text.assemble(("Runs  ", "bold"), self.report.counts)
        for one in self.report.left_out:
            if one.state not in ("not run", "unmatched"):
                said = one_line(f"{one.state}: {one.folder}: {one.reason}")
                yield Text(f"  {said}", style="yellow")


def _pieces(table: Table, width: int) -> Iterator[Table]:
    """The table's columns, as many at a time as fit beside the first one."""
    widths = [_narrowest(table, index) for index in range(len(table.columns))]
    chosen: list[int] = [0]
    for index in range(1, len(widths)):
        if len(chosen) > 1 and _total(widths[i] for i in (*chosen, index)) > width:
            yield _columns(table, chosen)
            chosen = [0]
        chosen.append(index)
    yield _columns(table, chosen)


def _columns(table: Table, chosen: list[int]) -> Table:
    return replace(
        table,
        columns=tuple(table.columns[i] for i in chosen),
        rows=tuple(tuple(row[i] for i in chosen) for row in table.rows),
    )


def _narrowest(table: Table, index: int) -> int:
    """What the cells of a column need; a heading can be broken at its spaces."""
    return max(_widest_cell(table, index), *map(len, table.columns[index].heading.split()))


def _widest_cell(table: Table, index: int) -> int:
    return max((Text(row[index].text).cell_len for row in table.rows), default=0)


def _total(widths: Iterable[int]) -> int:
    """Columns and the gaps between them."""
    return sum(width + GAP for width in widths) - GAP


def _fitted(table: Table, width: int) -> list[int]:
    """Unbroken headings where there is room for them; the labels give way before any figure."""
    columns = range(len(table.columns))
    wide = [max(_widest_cell(table, i), len(table.columns[i].heading)) for i in columns]
    widths = wide if _total(wide) <= width else [_narrowest(table, i) for i in columns]
    room = width - _total([0, *widths[1:]])
    return [min(widths[0], max(room, NARROWEST_LABEL)), *widths[1:]]


def _rich_table(table: Table, width: int) -> RichTable:
    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),  # the box has a space between columns too
        header_style="dim",
    )
    for column, fitted in zip(table.columns, _fitted(table, width), strict=True):
        drawn.add_column(
            Text(column.heading), justify=column.align, vertical="bottom", width=fitted
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, STYLES.get(cell.style, "")) for cell in row))
    return drawn
