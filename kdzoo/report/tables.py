"""The tables of a report, before they are rendered as text, Markdown, LaTeX or HTML."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from kdzoo.report import cells
from kdzoo.report.cells import Cell
from kdzoo.report.measures import MEASURES, Measure, TableName
from kdzoo.report.published import PublishedFigure, one_of_each
from kdzoo.report.summary import MethodSummary, Report, Section


@dataclass(frozen=True)
class Column:
    """A heading, and how the cells under it are aligned."""

    heading: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Table:
    """Cells under headings, with a title above and notes below.

    Attributes:
        key: a short name that is safe in files and labels.
        place: the section that it belongs to; empty for a table of all of them.
        title: what it shows.
    """

    key: str
    place: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def full_title(self) -> str:
        """The title where nothing else says which section it is about."""
        return f"{self.place}: {self.title}" if self.place else self.title


INTERVAL_NOTE = (
    "Mean ± standard deviation over n seeds, last epoch; best in bold. Difference: of the student "
    "from {baseline}, paired by seed, with its 95 % t-interval, which allows for the number of "
    "comparisons (Holm); * marks one that excludes 0."
)
TOO_FEW_NOTE = (
    "Too few seeds: two pairs, or an interval wider than 20 points, which says nothing about the "
    "methods; the CSV has it."
)
EQUAL_NOTE = (
    "Too few seeds, too, where the differences of all pairs are equal: how far others would "
    "scatter is not known, and there is no interval."
)

STUDENT = MEASURES["student"]

Filler = Callable[[MethodSummary], Cell]
"""Makes a column's cell of a row."""


def overview_table(report: Report) -> Table:
    """The student's accuracy of every method in every section that has it."""
    sections = [{row.label: row for row in section.methods} for section in report.sections]
    best = [_best_of(section.methods, STUDENT) for section in report.sections]
    rows = [
        (
            cells.words(label),
            *(
                _figure(there[label], STUDENT, here) if label in there else cells.nothing()
                for there, here in zip(sections, best, strict=True)
            ),
        )
        for label in dict.fromkeys(label for section in sections for label in section)
    ]
    return Table(
        "overview",
        "",
        "Student accuracy, %",
        (Column("method", "left"), *(Column(section.name) for section in report.sections)),
        tuple(rows),
        ("Mean ± standard deviation over seeds, last epoch; best in bold.",),
    )


def accuracy_table(section: Section, key: str) -> Table:
    """Student, mean peer and ensemble of every method, and what the difference is worth."""
    columns = _columns(section, section.methods, "accuracy", _difference)
    interval = INTERVAL_NOTE.format(baseline=_baseline(section.methods))
    notes = [interval, *_too_few(section.methods), _best_note(section)]
    for figure in one_of_each(figure for row in section.methods for figure in row.published):
        columns.append(_published_column(figure, section.methods))
        notes.append(
            "Published, under conditions of their own and never mixed with ours, "
            f"{figure.table}: {figure.source}."
        )
    return _table(f"{key}-accuracy", section, "accuracy", columns, section.methods, notes)


def cost_table(section: Section, key: str) -> Table:
    """What training and the student cost, how the peers differ, and how calibrated it all is."""
    columns = _columns(section, section.methods, "cost")
    notes = [
        "NLL and ECE: of the student. Disagreement and L2 distance: of pairs of peers. Params and "
        "MACs: of the student, for one image."
    ]
    baseline = next((row for row in section.methods if row.label == row.compared_with), None)
    if baseline is not None and baseline.runs and len(section.methods) > 1:
        columns += [
            (Column("time ratio"), partial(_ratio, measure=MEASURES["seconds"], to=baseline)),
            (Column("memory ratio"), partial(_ratio, measure=MEASURES["peak_memory"], to=baseline)),
        ]
        notes.append(f"Ratios: mean training time and peak memory to those of {baseline.label}.")
    title = "calibration, diversity and cost"
    return _table(f"{key}-cost", section, title, columns, section.methods, notes)


def ablation_table(section: Section, key: str) -> Table:
    """Each ablation under the method that it varies, and its difference from that method."""
    varied = {row.of for row in section.ablations}
    rows = [
        shown
        for method in section.methods
        if method.label in varied
        for shown in (method, *(row for row in section.ablations if row.of == method.label))
    ]
    columns = _columns(section, rows, "ablations", _difference_of_ablation)
    interval = INTERVAL_NOTE.format(baseline="the method that is varied")
    notes = (interval, *_too_few(section.ablations))
    return _table(f"{key}-ablations", section, "ablations", columns, rows, notes)


def section_tables(section: Section, key: str) -> list[Table]:
    """Every table of a section; ``key`` begins their keys."""
    tables = [accuracy_table(section, key), cost_table(section, key)]
    return [*tables, ablation_table(section, key)] if section.ablations else tables


def report_tables(report: Report) -> list[Table]:
    """Every table of a report that is read from top to bottom."""
    overview = [overview_table(report)] if len(report.sections) > 1 else []
    keyed = zip(report.sections, report.keys, strict=True)
    return [*overview, *(table for part, key in keyed for table in section_tables(part, key))]


def _table(
    key: str,
    section: Section,
    title: str,
    columns: Sequence[tuple[Column, Filler]],
    rows: Sequence[MethodSummary],
    notes: Sequence[str],
) -> Table:
    return Table(
        key,
        section.name,
        title,
        tuple(column for column, _ in columns),
        tuple(tuple(fill(row) for _, fill in columns) for row in rows),
        tuple(notes),
    )


def _columns(
    section: Section,
    rows: Sequence[MethodSummary],
    table: TableName,
    difference: Filler | None = None,
) -> list[tuple[Column, Filler]]:
    """Labels and counts, then the table's measures; the difference follows the student's."""
    columns: list[tuple[Column, Filler]] = [
        (Column("method", "left"), lambda row: cells.words(row.label)),
        (Column("n"), lambda row: cells.words(str(row.n))),
    ]
    for measure in MEASURES.values():
        if table in measure.tables:
            heading = Column(measure.heading.format(split=section.split))
            fill = partial(_figure, measure=measure, best=_best_of(rows, measure))
            columns.append((heading, fill))
        if measure is STUDENT and difference is not None:
            columns.append((Column("difference [95 %]"), difference))
    return columns


def _figure(row: MethodSummary, measure: Measure, best: float | None) -> Cell:
    estimate = row.estimates.get(measure.key)
    if estimate is None:
        return cells.nothing()
    return cells.figure(estimate, measure, row.n, _is_best(row, measure, best))


def _ratio(row: MethodSummary, measure: Measure, to: MethodSummary) -> Cell:
    ours, theirs = row.estimates.get(measure.key), to.estimates.get(measure.key)
    if ours is None or theirs is None or theirs.mean == 0:
        return cells.nothing()
    return cells.ratio(ours.mean / theirs.mean)


def _best_of(rows: Sequence[MethodSummary], measure: Measure) -> float | None:
    """The best mean of the rows, as it is displayed; None where none is better than another."""
    means = [_shown(row, measure) for row in rows if measure.key in row.estimates]
    if measure.better is None or len(set(means)) < 2:
        return None
    return max(means) if measure.better == "high" else min(means)


def _is_best(row: MethodSummary, measure: Measure, best: float | None) -> bool:
    """Whether the row's displayed mean is the best one; equal ones all are."""
    return measure.key in row.estimates and _shown(row, measure) == best


def _shown(row: MethodSummary, measure: Measure) -> float:
    return round(row.estimates[measure.key].mean / measure.scale, measure.digits)


def _difference(row: MethodSummary) -> Cell:
    if row.label == row.compared_with:
        return cells.nothing("baseline")
    difference = row.differences.get(STUDENT.key)
    if difference is None:
        return cells.nothing()
    return cells.difference(difference, STUDENT.digits, row.n)


def _difference_of_ablation(row: MethodSummary) -> Cell:
    return cells.nothing("varied") if row.of is None else _difference(row)


def _published_column(of: PublishedFigure, rows: Sequence[MethodSummary]) -> tuple[Column, Filler]:
    def fill(row: MethodSummary) -> Cell:
        for figure in row.published:
            if figure.key == of.key:
                return cells.published(figure)
        return cells.nothing()

    found = [figure for row in rows for figure in row.published if figure.key == of.key]
    ensembles = " (ensemble)" if any(figure.ensemble is not None for figure in found) else ""
    return Column(f"{of.table} %{ensembles}"), fill


def _too_few(rows: Sequence[MethodSummary]) -> Iterator[str]:
    """The notes about intervals that are not shown and that there are not, where there are some."""
    found = [row.differences[STUDENT.key] for row in rows if STUDENT.key in row.differences]
    too_few = [one for one in found if one.has_too_few_pairs]
    if any(one.low is not None for one in too_few):
        yield TOO_FEW_NOTE
    if any(one.low is None for one in too_few):
        yield EQUAL_NOTE


def _baseline(rows: Sequence[MethodSummary]) -> str:
    return rows[0].compared_with if rows else "the baseline"


def _best_note(section: Section) -> str:
    return f"The best epoch is chosen by the student's accuracy on the {section.split} split" + (
        ", which flatters it." if "test" in section.split else "."
    )
