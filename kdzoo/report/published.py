"""Figures of the literature, from ``published.yaml``."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kdzoo.compose import read_stored


@dataclass(frozen=True)
class PublishedFigure:
    """A published accuracy.

    Attributes:
        key: the table's short name, safe in the name of a column.
        table: the table's name, as a heading has it.
        student: top-1 in percent.
        std: its standard deviation over runs; None where the source gives none.
        ensemble: top-1 in percent; None where the source gives none.
        source: where it stands, and how it was trained.
    """

    key: str
    table: str
    student: float
    std: float | None
    ensemble: float | None
    source: str


def published_figures(dataset: str, backbone: str, method: str) -> tuple[PublishedFigure, ...]:
    """What the literature gives for a data set, backbone and method of exactly these names.

    One figure a table, at most. A row with settings of its own has another label, so it is never
    shown beside the figure of the method as published.
    """
    return tuple(
        _figure(table, table[of][backbone][method], of)
        for table in _tables()
        for of in ("error", "accuracy")
        if table["dataset"] == dataset and method in table.get(of, {}).get(backbone, {})
    )


def one_of_each(figures: Iterable[PublishedFigure]) -> list[PublishedFigure]:
    """One figure of every table that is among these, in the order of the tables."""
    by_key = {figure.key: figure for figure in figures}
    keys = dict.fromkeys(table["key"] for table in _tables())
    return [by_key[key] for key in keys if key in by_key]


def _figure(table: dict[str, Any], values: list[float], of: str) -> PublishedFigure:
    first, second = values[0], values[1] if len(values) > 1 else None
    error = of == "error"
    return PublishedFigure(
        key=table["key"],
        table=table["name"],
        student=100 - first if error else first,
        std=None if error else second,
        ensemble=100 - second if error and second is not None else None,
        source=" ".join(table["source"].split()),
    )


@cache
def _tables() -> list[dict[str, Any]]:
    return read_stored(Path(__file__).with_suffix(".yaml"))["tables"]
