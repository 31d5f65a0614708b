"""Writes a report in every format."""

import json
from pathlib import Path

from kdzoo.files import write_text
from kdzoo.report.plots import report_plots
from kdzoo.report.render.csv import csv_report
from kdzoo.report.render.html import html_report
from kdzoo.report.render.latex import latex_report
from kdzoo.report.render.markdown import markdown_report
from kdzoo.report.run_files import Run
from kdzoo.report.summary import Report


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the report in every format.

    Returns:
        the files: ``report.md``, ``.tex``, ``.csv`` and ``.html``, ``results.json`` and the plots.

    Raises:
        UserError: the folder cannot be written.
    """
    plots = report_plots(report)
    texts = {
        "report.md": markdown_report(report, [plot for part in plots for plot in part]),
        "report.tex": latex_report(report),
        "report.csv": csv_report(report),
        "report.html": html_report(report, plots),
        "results.json": json.dumps([_raw(run) for run in report.runs], indent=1) + "\n",
        **{plot.file_name: plot.svg for part in plots for plot in part},
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _raw(run: Run) -> dict[str, object]:
    """A run as it is kept: its place in the tables, its result, and where it ran."""
    return {
        "labels": {"dataset": run.dataset, "backbone": run.backbone, "method": run.method},
        "result": run.result.model_dump(mode="json"),
        "environment": run.environment,
    }
