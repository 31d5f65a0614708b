"""A report's figures, before they are laid out: what is asked for, and what is found over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdzoo.component import Config
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, nearest
from kdzoo.identity import identity_of
from kdzoo.report.collect import Collection, ComparedMethod
from kdzoo.report.conditions import Condition, conditions
from kdzoo.report.labels import plain
from kdzoo.report.measures import MEASURES, Measure
from kdzoo.report.method_settings import method_in_words
from kdzoo.report.published import PublishedFigure, published_figures
from kdzoo.report.run_files import LeftOut, Run
from kdzoo.report.statistics import Difference, Estimate, estimate, paired_differences

WHY = {
    "failed": "failed",
    "damaged": "damaged or foreign",
    "twice": "there twice",
    "unfinished": "unfinished",
    "not run": "not run",
    "unmatched": "kept and not asked for",
}
"""The words for each state of a run that is left out."""


class Presentation(Config):
    """How a report is shown, whether it is made from a spec or from a folder."""

    title: str = ""
    """The report's heading."""
    baseline: str | None = None
    """The label of the method that the others are compared with; the first one by default."""
    published: bool = False
    """Whether to show published figures beside ours, where there are some."""


@dataclass(frozen=True)
class MethodSummary:
    """A method's figures on one backbone and data set, over its seeds: a row of the tables.

    Attributes:
        label, of: as in :class:`~kdzoo.report.collect.ComparedMethod`.
        runs: its finished runs, by seed.
        estimates: by the measure's key; absent where no run has the figure.
        differences: likewise, from ``compared_with``; none for a baseline.
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
    methods: tuple[MethodSummary, ...]
    ablations: tuple[MethodSummary, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset} · {self.backbone}"

    @property
    def rows(self) -> tuple[MethodSummary, ...]:
        return self.methods + self.ablations

    @property
    def split(self) -> str:
        """The split that every epoch was judged on, and the best one chosen."""
        splits = sorted({run.result.best.split for row in self.rows for run in row.runs})
        return plain("/".join(splits) or "test")


@dataclass(frozen=True)
class Report:
    """A bench's figures, whatever they are rendered to.

    Attributes:
        title: the heading.
        baseline: the label of the method that the others are compared with.
        published: whether published figures are shown where there are some.
        sections: one for each backbone and data set.
        conditions: what the figures depend on, as (name, text).
        left_out: runs that are not in the figures.
    """

    title: str
    baseline: str
    published: bool
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

    @property
    def counts(self) -> str:
        """How many runs there are, and how many are left out and why, in one sentence."""
        n = len(self.runs)
        finished = f"{n} run" if n == 1 else f"{n} runs"
        counted = [f"{self.count(state)} {why}" for state, why in WHY.items() if self.count(state)]
        lacking = f"left out: {', '.join(counted)}" if counted else "none failed"
        return f"{finished}; {lacking}."


def summarise(found: Collection, presentation: Presentation) -> Report:
    """Every figure of a report.

    Raises:
        ConfigError: no method is called like the baseline.
    """
    rows = [row for section in found.sections.values() for row in section]
    methods = list(dict.fromkeys(row.label for row in rows if row.of is None))
    baseline = plain(presentation.baseline) if presentation.baseline else found.baseline
    if methods and baseline not in methods:
        raise ConfigError(
            f"There is no method '{baseline}' to compare with. {nearest(baseline, methods)}",
            ("baseline",),
        )
    sections = tuple(
        _section(place, methods, found.runs, baseline, presentation.published)
        for place, methods in found.sections.items()
    )
    return Report(
        plain(presentation.title or "Benchmark"),
        baseline,
        presentation.published,
        sections,
        tuple(conditions(found.runs)),
        tuple(found.left_out),
    )


def _section(
    place: tuple[str, str],
    methods: Sequence[ComparedMethod],
    found: Sequence[Run],
    baseline: str,
    published: bool,
) -> Section:
    here = [run for run in found if (run.dataset, run.backbone) == place]
    by_label = {
        label: sorted((run for run in here if run.method == label), key=lambda run: run.seed)
        for label in [method.label for method in methods]
    }

    def summaries(rows: Sequence[ComparedMethod]) -> tuple[MethodSummary, ...]:
        """Of the rows of one table, which are compared together."""
        compared_with = {row.label: row.of or baseline for row in rows}
        differences = _differences(
            {label: (by_label[label], by_label.get(of, ())) for label, of in compared_with.items()}
        )
        return tuple(
            MethodSummary(
                label=row.label,
                of=row.of,
                runs=tuple(by_label[row.label]),
                estimates=_estimates(by_label[row.label]),
                differences=differences[row.label],
                compared_with=compared_with[row.label],
                published=_published(place, row.label, by_label[row.label]) if published else (),
            )
            for row in rows
        )

    return Section(
        *place,
        methods=summaries([method for method in methods if method.of is None]),
        ablations=summaries([method for method in methods if method.of is not None]),
    )


def _published(
    place: tuple[str, str], label: str, runs: Sequence[Run]
) -> tuple[PublishedFigure, ...]:
    """Of a row whose runs are what its label says: a spec's ``run`` may have told all more.

    What cannot change a result, such as a cache, is not looked at, and not kept either.
    """
    told = (identity_of(run.config, RunConfig).get("method", {}) for run in runs)
    if any(method_in_words(settings) != label for settings in told):
        return ()
    return published_figures(*place, label)


def _estimates(runs: Sequence[Run]) -> dict[str, Estimate]:
    values = {measure.key: list(_by_seed(runs, measure).values()) for measure in MEASURES.values()}
    return {key: estimate(of_runs) for key, of_runs in values.items() if of_runs}


def _differences(
    rows: Mapping[str, tuple[Sequence[Run], Sequence[Run]]],
) -> dict[str, dict[str, Difference]]:
    """By row and measure, how the runs of each row differ from those that it is compared with."""
    found: dict[str, dict[str, Difference]] = {label: {} for label in rows}
    for measure in MEASURES.values():
        comparisons = {
            label: (_by_seed(runs, measure), _by_seed(baseline, measure))
            for label, (runs, baseline) in rows.items()
            if runs is not baseline
        }
        for label, difference in paired_differences(comparisons).items():
            found[label][measure.key] = difference
    return found


def _by_seed(runs: Sequence[Run], measure: Measure) -> dict[int, float]:
    values = {run.seed: measure.read(run.result) for run in runs}
    return {seed: value for seed, value in values.items() if value is not None}
