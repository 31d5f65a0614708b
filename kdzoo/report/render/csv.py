"""A report's figures as CSV: one line a method, backbone and data set, numbers unrounded."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from kdzoo.report.labels import inert
from kdzoo.report.measures import MEASURES
from kdzoo.report.published import one_of_each
from kdzoo.report.summary import MethodSummary, Report, Section


def csv_report(report: Report) -> str:
    """``key``, ``key_std`` and ``key_n`` for each measure, in base units: percent, nats, bytes,
    seconds; ``student_difference``, its interval, its number of pairs and whether it excludes 0;
    ``published_KEY_student`` and so on for each table of the literature that has a figure here.
    """
    rows = [(section, row) for section in report.sections for row in section.rows]
    tables = one_of_each(figure for _, row in rows for figure in row.published)
    published = [figure.key for figure in tables]
    lines = [dict(_line(section, row, published)) for section, row in rows]
    buffer = io.StringIO()
    if lines:
        writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return buffer.getvalue()


def _line(
    section: Section, row: MethodSummary, published: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    yield "dataset", inert(section.dataset)
    yield "backbone", inert(section.backbone)
    yield "method", inert(row.label)
    yield "ablation_of", inert(row.of or "")
    yield "n", row.n
    for measure in MEASURES.values():
        estimate = row.estimates.get(measure.key)
        yield measure.key, estimate and estimate.mean
        yield f"{measure.key}_std", estimate and estimate.std
        yield f"{measure.key}_n", estimate.n if estimate else 0
    for key in ("student", "ensemble"):
        difference = row.differences.get(key)
        yield f"{key}_compared_with", inert(row.compared_with)
        yield f"{key}_difference", difference and difference.mean
        yield f"{key}_difference_low", difference and difference.low
        yield f"{key}_difference_high", difference and difference.high
        yield f"{key}_difference_n", difference.n if difference else 0
        yield f"{key}_difference_excludes_0", difference and difference.excludes_zero
    figures = {figure.key: figure for figure in row.published}
    for key in published:
        for value in ("student", "std", "ensemble", "source"):
            yield f"published_{key}_{value}", getattr(figures.get(key), value, None)
