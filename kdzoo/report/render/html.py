"""A report as one HTML page that needs nothing else: no network, no other file."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kdzoo.report.labels import one_line
from kdzoo.report.plot_style import GRID, INK, MUTED, SERIES, SURFACE
from kdzoo.report.plots import Plot
from kdzoo.report.summary import Report
from kdzoo.report.tables import Table, overview_table, section_tables

PAGE = Path(__file__).with_name("page")
COLORS = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    SURFACE: "surface",
    **{color: f"c{index}" for index, color in enumerate(SERIES)},
}
"""The style sheet's names for the plots' colours, so that dark pages get dark plots."""


class PageSection(NamedTuple):
    """What the page shows of a section."""

    name: str
    tables: list[Table]
    plots: list[dict[str, str]]


def html_report(
    report: Report, plots: Sequence[Sequence[Plot]], overview: Sequence[Plot] = ()
) -> str:
    """The page.

    Args:
        report: the figures.
        plots: of each section.
        overview: of all of them.
    """
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        finalize=lambda value: one_line(str(value)) if isinstance(value, Path) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sections = [
        PageSection(section.name, section_tables(section, key), list(map(_inline, drawn)))
        for section, key, drawn in zip(report.sections, report.keys, plots, strict=True)
    ]
    return environment.get_template("page.html").render(
        report=report,
        overview=overview_table(report) if len(report.sections) > 1 else None,
        overview_plots=list(map(_inline, overview)),
        sections=sections,
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


def _inline(plot: Plot) -> dict[str, str]:
    """A plot whose SVG is part of the page and takes its colours from the style sheet."""
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for color, name in COLORS.items():
        svg = svg.replace(color, f"var(--{name})")
    # Matplotlib has escaped every text in it.
    return {"title": plot.title, "description": plot.description, "svg": Markup(svg)}
