"""The figures that reports show of a run. A new one is one more line of ``MEASURES``.

From there it comes into the CSV and into the tables it names, in every format. A figure that
:mod:`kdzoo.report.run_files` does not read yet needs a field there.
"""

from dataclasses import dataclass
from typing import Any, Literal

from kdzoo.training.result import Result

TableName = Literal["accuracy", "cost", "ablations"]


@dataclass(frozen=True)
class Measure:
    """One figure of a run.

    Attributes:
        key: its name in CSV.
        heading: its name in tables, with the unit; ``{split}`` stands for the split judged on.
        path: where it is in a result, as attributes joined by dots.
        tables: which have a column of it.
        digits: decimals that are shown.
        better: which end is the better one, where one is.
        scale: what it is divided by to be shown.
        exact: whether it is the same for every seed.
    """

    key: str
    heading: str
    path: str
    tables: tuple[TableName, ...] = ()
    digits: int = 2
    better: Literal["high", "low"] | None = None
    scale: float = 1.0
    exact: bool = False

    def read(self, result: Result) -> float | None:
        """The figure in base units; None where the run has none, such as one peer's ensemble."""
        found: Any = result
        for name in self.path.split("."):
            if found is not None:
                found = getattr(found, name)
        return None if found is None else float(found)


ACCURACY: tuple[TableName, ...] = ("accuracy", "ablations")
DIVERSITY: tuple[TableName, ...] = ("cost", "ablations")
COST: tuple[TableName, ...] = ("cost",)

_ALL = (
    Measure("student", "student %", "last.student.top1", ACCURACY, better="high"),
    Measure("mean_peer", "mean peer %", "last.mean_peer", ACCURACY, better="high"),
    Measure("ensemble", "ensemble %", "last.ensemble.top1", ACCURACY, better="high"),
    Measure("best", "best {split} epoch %", "best.student.top1", ("accuracy",), better="high"),
    Measure("nll", "NLL", "last.student.nll", COST, 3, better="low"),
    Measure("ece", "ECE %", "last.student.ece", COST, better="low"),
    Measure("disagreement", "disagreement %", "last.diversity.disagreement", DIVERSITY),
    Measure("l2", "L2", "last.diversity.l2", DIVERSITY, 3),
    Measure("params", "params M", "student.params", COST, scale=1e6, exact=True),
    Measure("macs", "MACs M", "student.macs", COST, 1, scale=1e6, exact=True),
    Measure("training_params", "params in training M", "training_params", scale=1e6, exact=True),
    Measure("seconds_per_epoch", "s / epoch", "seconds_per_epoch", COST),
    Measure("seconds", "training s", "seconds", digits=0),
    Measure("peak_memory", "peak memory MiB", "peak_memory", COST, 0, scale=2**20),
)
MEASURES = {measure.key: measure for measure in _ALL}
"""Every figure by its key, in the order of the columns."""
