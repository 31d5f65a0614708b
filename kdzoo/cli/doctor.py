"""``kdzoo doctor``: the findings as a table or as JSON."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdzoo.cli.json_output import print_json
from kdzoo.doctor import Finding

STYLES = {"fine": "green", "note": "yellow", "problem": "bold red"}


def print_findings(findings: Sequence[Finding], out: Console, as_json: bool) -> None:
    """Show what was found, problems with what to do about them."""
    if as_json:
        print_json([asdict(one) for one in findings], out)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for one in findings:
        table.add_row(Text(one.state, STYLES[one.state]), Text(one.subject), _text(one))
    out.print(table)
    problems = sum(one.state == "problem" for one in findings)
    out.print(
        {0: "Nothing stands in the way of a run.", 1: "1 problem."}.get(
            problems, f"{problems} problems."
        )
    )


def _text(finding: Finding) -> RenderableType:
    if not finding.fix:
        return Text(finding.text)
    return Group(Text(finding.text), Text(f"\N{RIGHTWARDS ARROW} {finding.fix}", "bold"))
