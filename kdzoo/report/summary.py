"""The figures of a bench: what every rendering of a report shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdzoo.component import Config
from kdzoo.errors import ConfigError, nearest
from kdzoo.report.collect import Collection, MethodRow
from kdzoo.report.conditions import Condition, conditions
from kdzoo.report.measures import MEASURES, Measure
from kdzoo.report.published import PublishedFigure, published_figures
from kdzoo.report.run_files import LeftOut, Run
from kdzoo.report.statistics import Difference, Estimate, estimate, paired_difference


class Presentation(Config):
    """How a report is shown, whether it is made from a spec or from a folder."""

    title: str = ""
    """The report's heading."""
    baseline: str | None = None
    """The label of the method that the others are compared with; the first one by default."""
    published: bool = False
    """Whether to show published figures beside ours, where there are some."""


@dataclass(frozen=True)
class Row:
    """A method on one backbone and data set, over its seeds.

    Attributes:
        label: the method's.
        of: for an ablation, the method that it varies.
        runs: its finished runs, by seed.
        estimates: by the measure's key; absent where no run has the figure.
        differences: likewise, from ``compared_with``.
        compared_with: the label of the row that it is compared with; its own for a baseline.
        published: figures of the literature, where asked for and known; at most one a table.
    """

    label: str
    of: str | None
    runs: tuple[Run, ...]
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    compared_with: str
    published: tuple[PublishedFigure, ...]

    @property
    def n(self) -> int:
        return len(self.runs)


@dataclass(frozen=True)
class Section:
    """All methods on one backbone and data set."""

    dataset: str
    backbone: str
    methods: tuple[Row, ...]
    ablations: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset} · {self.backbone}"

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.methods + self.ablations

    @property
    def judged(self) -> str:
        """The split that the best epoch was chosen on."""
        splits = sorted({run.result.best.split for row in self.rows for run in row.runs})
        return "/".join(splits) or "test"


@dataclass(frozen=True)
class Report:
    """A bench's figures, whatever they are rendered to.

    Attributes:
        title: the heading.
        baseline: the label of the method that the others are compared with.
        sections: one for each backbone and data set.
        conditions: what the figures depend on, as (name, text).
        left_out: runs that are not in the figures.
    """

    title: str
    baseline: str
    sections: tuple[Section, ...]
    conditions: tuple[Condition, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def keys(self) -> list[str]:
        """A short name for each section that is safe in files and labels."""
        return [f"part{number}" for number in range(1, len(self.sections) + 1)]

    @property
    def runs(self) -> list[Run]:
        return [run for section in self.sections for row in section.rows for run in row.runs]

    def count(self, state: str) -> int:
        """How many runs were left out in that state."""
        return sum(one.state == state for one in self.left_out)


def summarise(found: Collection, presentation: Presentation) -> Report:
    """Every figure of a report.

    Raises:
        ConfigError: no method is called like the baseline.
    """
    methods = [row.label for row in found.methods if row.of is None]
    baseline = presentation.baseline or (methods[0] if methods else "")
    if methods and baseline not in methods:
        raise ConfigError(
            f"There is no method '{baseline}' to compare with. {nearest(baseline, methods)}",
            ("baseline",),
        )
    sections = tuple(
        _section(place, found, baseline, presentation.published) for place in found.places
    )
    return Report(
        presentation.title or "Benchmark",
        baseline,
        sections,
        tuple(conditions(found.runs)),
        tuple(found.left_out),
    )


def best_of(rows: Sequence[Row], measure: Measure) -> float | None:
    """The best mean of the rows, as it is displayed; None where none is better than another."""
    means = [_shown(row, measure) for row in rows if measure.key in row.estimates]
    if measure.better is None or len(set(means)) < 2:
        return None
    return max(means) if measure.better == "high" else min(means)


def is_best(row: Row, measure: Measure, best: float | None) -> bool:
    """Whether the row's displayed mean is the best one; equal ones all are."""
    return measure.key in row.estimates and _shown(row, measure) == best


def _shown(row: Row, measure: Measure) -> float:
    return round(row.estimates[measure.key].mean / measure.scale, measure.digits)


def _section(place: tuple[str, str], found: Collection, baseline: str, published: bool) -> Section:
    here = [run for run in found.runs if (run.dataset, run.backbone) == place]
    by_label = {
        row.label: sorted((run for run in here if run.method == row.label), key=lambda r: r.seed)
        for row in found.methods
    }

    def row_of(row: MethodRow) -> Row:
        compared_with = row.of or baseline
        return Row(
            label=row.label,
            of=row.of,
            runs=tuple(by_label[row.label]),
            estimates=_estimates(by_label[row.label]),
            differences=_differences(by_label[row.label], by_label.get(compared_with, [])),
            compared_with=compared_with,
            published=published_figures(*place, row.label) if published else (),
        )

    rows = [row_of(row) for row in found.methods]
    return Section(
        *place,
        methods=tuple(row for row in rows if row.of is None),
        ablations=tuple(row for row in rows if row.of is not None),
    )


def _estimates(runs: Sequence[Run]) -> dict[str, Estimate]:
    values = {measure.key: list(_by_seed(runs, measure).values()) for measure in MEASURES}
    return {key: estimate(of_runs) for key, of_runs in values.items() if of_runs}


def _differences(runs: Sequence[Run], baseline: Sequence[Run]) -> dict[str, Difference]:
    pairs = {
        measure.key: paired_difference(_by_seed(runs, measure), _by_seed(baseline, measure))
        for measure in MEASURES
    }
    return {key: difference for key, difference in pairs.items() if difference is not None}


def _by_seed(runs: Sequence[Run], measure: Measure) -> dict[int, float]:
    values = {run.seed: measure.read(run.result) for run in runs}
    return {seed: value for seed, value in values.items() if value is not None}


LACKING = {
    "failed": "failed",
    "damaged": "damaged or foreign",
    "twice": "there twice",
    "unfinished": "unfinished",
    "not run": "not run",
}


def counts(report: Report) -> str:
    """How many, in one sentence."""
    n = len(report.runs)
    finished = f"{n} run" if n == 1 else f"{n} runs"
    lacking = [
        f"{report.count(state)} {words}" for state, words in LACKING.items() if report.count(state)
    ]
    return (
        f"{finished}; left out: {', '.join(lacking)}." if lacking else f"{finished}; none failed."
    )
