"""A report's figures as JSON: numbers unrounded, in base units, as in the CSV."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kdzoo.report.summary import MethodSummary, Report, Section


def json_report(report: Report) -> dict[str, Any]:
    """Sections with their rows, what the figures depend on, and what is left out.

    A row's ``estimates`` and ``differences`` are by the keys of
    :data:`~kdzoo.report.measures.MEASURES`: percent, nats, bytes, seconds.
    """
    return {
        "title": report.title,
        "baseline": report.baseline,
        "sections": [_section(section) for section in report.sections],
        "conditions": [{"name": name, "text": text} for name, text in report.conditions],
        "left_out": [
            {"folder": str(one.folder), "state": one.state, "reason": one.reason}
            for one in report.left_out
        ],
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "dataset": section.dataset,
        "backbone": section.backbone,
        "split": section.split,
        "methods": _rows(section.methods),
        "ablations": _rows(section.ablations),
    }


def _rows(rows: Sequence[MethodSummary]) -> list[dict[str, Any]]:
    return [
        {
            "method": row.label,
            "ablation_of": row.of,
            "compared_with": row.compared_with,
            "runs": [{"seed": run.seed, "folder": str(run.folder)} for run in row.runs],
            "estimates": {key: asdict(one) for key, one in row.estimates.items()},
            "differences": {
                key: {**asdict(one), "excludes_zero": one.excludes_zero}
                for key, one in row.differences.items()
            },
            "published": [asdict(one) for one in row.published],
        }
        for row in rows
    ]
