"""Writes a report in every format."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.files import ANOTHER_TO, check_place, read_json, replacing, write_texts
from kdzoo.report.overview_plots import overview_plots
from kdzoo.report.plots import report_plots
from kdzoo.report.render.csv import csv_report
from kdzoo.report.render.html import html_report
from kdzoo.report.render.latex import latex_report
from kdzoo.report.render.markdown import markdown_report
from kdzoo.report.results_file import FILE as RESULTS
from kdzoo.report.results_file import read_results, results_text
from kdzoo.report.run_files import Run
from kdzoo.report.summary import Report

PLOT = re.compile(r"(part\d+|overview)-[a-z]+\.svg")
MANIFEST = ".files.json"
"""Names the files of the last report, so that the next one removes what it does not replace."""


def write_report(report: Report, folder: Path, source: Path | None = None) -> list[Path]:
    """Write the report in every format, in the place of an earlier one in that folder.

    The earlier one stays whole until all files of this one are on the disk.

    Args:
        report: what is written.
        folder: where.
        source: the ``results.json`` that the report is made of; it is never replaced by itself.

    Returns:
        the files: ``report.md``, ``.tex``, ``.csv`` and ``.html``, ``results.json`` and the plots.

    Raises:
        UserError: the folder cannot be written, or holds plots that this report cannot make again
            or files of something else.
    """
    beside = source is not None and _is_same(source, folder / RESULTS)
    if beside:
        _refuse_to_lose_plots(report.runs, folder)
    overview, plots = overview_plots(report), report_plots(report)
    together = [*overview, *(plot for part in plots for plot in part)]
    texts = {
        "report.md": markdown_report(report, together),
        "report.tex": latex_report(report),
        "report.csv": csv_report(report),
        "report.html": html_report(report, plots, overview),
        RESULTS: results_text(report),
        **{plot.file_name: plot.svg for plot in together},
    }
    if beside:
        del texts[RESULTS]
    check_place(folder, texts, lambda: _is_report(folder))
    gone = _plots_of(folder / MANIFEST) - texts.keys()
    with replacing(folder / MANIFEST, ANOTHER_TO) as manifest:
        manifest.write_text(json.dumps(sorted(texts), indent=2) + "\n", encoding="utf-8")
        write_texts(folder, texts, ANOTHER_TO)
        for name in gone:
            with suppress(OSError):
                (folder / name).unlink()
    return [folder / name for name in texts]


def _is_report(folder: Path) -> bool:
    if (folder / MANIFEST).exists():
        return True
    try:
        read_results(folder)
    except UserError:
        return False
    return True


def _refuse_to_lose_plots(runs: Sequence[Run], folder: Path) -> None:
    without = sum(not run.curve for run in runs)
    if without:
        raise UserError(
            f"{folder / RESULTS} is of an earlier version and keeps {without} of {len(runs)} runs "
            f"without learning curves: the plots of {folder} cannot be made again. {ANOTHER_TO}."
        )


def _is_same(file: Path, other: Path) -> bool:
    try:
        return file.samefile(other)
    except OSError:
        return False


def _plots_of(manifest: Path) -> set[str]:
    """The plots of an earlier report, the only files that not every report has."""
    try:
        names = read_json(manifest)
    except UserError:
        return set()
    listed = names if isinstance(names, list) else []
    return {name for name in listed if isinstance(name, str) and PLOT.fullmatch(name)}
