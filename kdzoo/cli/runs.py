"""``kdzoo runs``: the runs on disk as a table or as JSON."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdzoo.cli.json_output import print_json
from kdzoo.report.labels import one_line
from kdzoo.report.listing import RunOnDisk

STYLES = {
    "finished": "green",
    "unfinished": "yellow",
    "failed": "red",
    "damaged": "red",
    "not run": "dim",
}


WIDTHS = {"epochs": 8, "student %": 11, "ensemble %": 12, "s": 8}
"""The columns of figures, and about how wide they are."""
STATE = 12
NARROWEST = 16
"""What the folder needs at least. Narrower terminals do without figures, the student's last."""


def print_runs(runs: Sequence[RunOnDisk], below: Path, out: Console, as_json: bool) -> None:
    """Show the runs; folders are given from ``below`` on."""
    if as_json:
        print_json([{**asdict(run), "folder": str(run.folder)} for run in runs], out)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    headings = next(
        (some for some in (list(WIDTHS), ["student %"]) if _left(out, some) >= NARROWEST), []
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        figures = {
            "epochs": str(run.epoch),
            "student %": _percent(run.student),
            "ensemble %": _percent(run.ensemble),
            "s": f"{run.seconds:,.0f}",
        }
        table.add_row(
            Text(_broken(one_line(str(run.folder.relative_to(below))), _left(out, headings))),
            Text(run.state, STYLES[run.state]),
            *(figures[heading] for heading in headings),
        )
    out.print(table if runs else "No run is like that.")


def _left(out: Console, headings: Sequence[str]) -> int:
    """The columns of the terminal that are left for the folder."""
    return out.width - STATE - sum(WIDTHS[heading] for heading in headings)


def _broken(folder: str, width: int) -> str:
    """A path in lines of at most ``width``, that end at a slash, so that no name is in two."""
    lines = [""]
    for part in re.findall(r"[^/]*/|[^/]+", folder):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
