"""A report as Markdown, for a README or an issue."""

import re
from collections.abc import Iterator, Sequence

from kdzoo.report.cells import Cell
from kdzoo.report.labels import one_line
from kdzoo.report.plots import Plot
from kdzoo.report.summary import Report
from kdzoo.report.tables import Table, report_tables

SPECIAL = re.compile(
    r"[\\`*\[\]|~<>&$@#]|(?<![^\W_])_|_(?![^\W_])|:(?=//|[\w+-]+:)|(?<=\bwww)\.", re.IGNORECASE
)
"""What could begin markup, an emoji or, where pages make one of it, a link; an underscore inside a
word cannot."""
ENTITIES = {
    **{"<": "&lt;", ">": "&gt;", "&": "&amp;"},
    **{one: f"&#{ord(one)};" for one in "$@#:."},
}


def markdown_report(report: Report, plots: Sequence[Plot] = ()) -> str:
    """The tables, then the plots as links to their files, then what it all depends on."""
    parts = [f"# {escape(report.title)}", *map(_table, report_tables(report))]
    parts += [f"![{escape(plot.full_title)}]({plot.file_name})" for plot in plots]
    parts.append("\n".join(_footer(report)))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that Markdown, and the HTML in it, shows as it is."""
    return SPECIAL.sub(lambda match: ENTITIES.get(match[0], f"\\{match[0]}"), text)


def _table(table: Table) -> str:
    lines = [
        f"## {escape(table.full_title)}",
        "",
        _line([escape(column.heading) for column in table.columns]),
        _line([":--" if column.align == "left" else "--:" for column in table.columns]),
        *(_line([_cell(cell) for cell in row]) for row in table.rows),
    ]
    for note in table.notes:
        lines += ["", escape(note)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = cell.text.replace("*", r"\*") if cell.is_figure else escape(cell.text)
    return f"**{text}**" if cell.style == "best" else text


def _footer(report: Report) -> Iterator[str]:
    for name, text in report.conditions:
        yield f"- **{name}**: {escape(text)}"
    yield f"- **Runs**: {report.counts}"
    for one in report.left_out:
        if one.state in ("failed", "damaged", "twice"):
            yield f"  - {one.state}: {escape(one_line(f'{one.folder}: {one.reason}'))}"
