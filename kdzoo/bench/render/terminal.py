"""A report in the terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text as Words

from kdzoo.bench.render.summary_line import counts
from kdzoo.bench.render.text import as_text, is_best
from kdzoo.bench.summary import Report
from kdzoo.bench.tables import Cell, Gap, Nothing, Table, report_tables


def terminal_report(report: Report) -> RenderableType:
    """The tables, what they depend on, and what was left out of them."""
    parts: list[RenderableType] = []
    for table in report_tables(report):
        parts += [Words(), _grid(table)]
    parts.append(Words())
    for name, text in report.conditions:
        parts.append(Words.assemble((f"{name}  ", "bold"), text))
    parts.append(Words.assemble(("Runs  ", "bold"), counts(report)))
    for one in report.left_out:
        if one.state != "not run":
            parts.append(Words(f"  {one.state}: {one.folder}: {one.reason}", style="yellow"))
    return Group(*parts)


def _grid(table: Table) -> RenderableType:
    grid = Grid(
        title=Words(table.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    for column in table.columns:
        # A figure that is cut or broken would be read wrongly; labels and headings may fold.
        grid.add_column(
            Words(column.heading), justify=column.align, no_wrap=column.align == "right"
        )
    for row in table.rows:
        grid.add_row(*map(_words, row))
    return Group(grid, *(Words(note, style="dim") for note in table.notes))


def _words(cell: Cell) -> Words:
    if is_best(cell):
        return Words(as_text(cell), style="bold")
    if isinstance(cell, Nothing):
        return Words(as_text(cell), style="dim")
    if isinstance(cell, Gap) and cell.difference.excludes_zero:
        return Words(as_text(cell), style="green" if cell.difference.mean > 0 else "red")
    return Words(as_text(cell))
