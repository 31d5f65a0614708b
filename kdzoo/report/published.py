"""Figures of the literature, from ``published.yaml``."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kdzoo.compose import read_yaml


@dataclass(frozen=True)
class PublishedFigure:
    """A published accuracy.

    Attributes:
        student: top-1 in percent.
        ensemble: likewise; None where the source gives none.
        source: where it stands, and how it was trained.
    """

    student: float
    ensemble: float | None
    source: str


def published_figure(dataset: str, backbone: str, method: str) -> PublishedFigure | None:
    """What the literature gives for a data set, backbone and method of exactly these names.

    A row with settings of its own has another label, so it is never shown beside the figure of the
    method as published.
    """
    return _figures().get((dataset, backbone, method))


@cache
def _figures() -> dict[tuple[str, str, str], PublishedFigure]:
    tables = read_yaml(Path(__file__).with_suffix(".yaml"))["tables"]
    return {
        (table["dataset"], backbone, method): PublishedFigure(
            student=100 - error[0],
            ensemble=100 - error[1] if len(error) > 1 else None,
            source=" ".join(table["source"].split()),
        )
        for table in tables
        for backbone, methods in table["error"].items()
        for method, error in methods.items()
    }
