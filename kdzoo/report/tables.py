"""The tables of a report, before they are rendered as text, Markdown, LaTeX or HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kdzoo.report import measures
from kdzoo.report.cells import Cell, Figure, Gap, Nothing, Published, Text
from kdzoo.report.measures import Measure
from kdzoo.report.published import PublishedFigure, one_of_each
from kdzoo.report.statistics import Estimate
from kdzoo.report.summary import Report, Row, Section, best_of, is_best


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
    "from {baseline}, paired by seed, with its 95 % t-interval; * marks one that excludes 0."
)

Filler = Callable[[Row], Cell]


def overview_table(report: Report) -> Table:
    """The student's accuracy of every method in every section."""
    best = {id(s): best_of(s.methods, measures.STUDENT) for s in report.sections}
    labels = [row.label for row in report.sections[0].methods] if report.sections else []
    rows = []
    for index, label in enumerate(labels):
        row_cells: list[Cell] = [Text(label)]
        for section in report.sections:
            row = section.methods[index]
            row_cells.append(_figure(row, measures.STUDENT, best[id(section)]))
        rows.append(tuple(row_cells))
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
    columns = [
        *_leading(),
        _difference_column(),
        _measured(section.methods, measures.MEAN_PEER),
        _measured(section.methods, measures.ENSEMBLE),
        _measured(section.methods, measures.BEST, f"best {section.judged} epoch %"),
    ]
    columns.insert(2, _measured(section.methods, measures.STUDENT))
    notes = [INTERVAL_NOTE.format(baseline=_baseline(section.methods)), _best_note(section)]
    for figure in one_of_each(figure for row in section.methods for figure in row.published):
        columns.append(_published_column(figure, section.methods))
        notes.append(
            "Published, under conditions of their own and never mixed with ours, "
            f"{figure.table}: {figure.source}."
        )
    return _table(f"{key}-accuracy", section, "accuracy", columns, section.methods, notes)


def cost_table(section: Section, key: str) -> Table:
    """What training and the student cost, how the peers differ, and how calibrated it all is."""
    columns = [
        *_leading(),
        *(
            _measured(section.methods, measure)
            for measure in (
                measures.NLL,
                measures.ECE,
                measures.DISAGREEMENT,
                measures.L2,
                measures.PARAMS,
                measures.MACS,
                measures.SECONDS_PER_EPOCH,
                measures.PEAK_MEMORY,
            )
        ),
    ]
    notes = (
        "NLL and ECE: of the student. Disagreement and L2 distance: of pairs of peers. Params and "
        "MACs: of the student, for one image.",
    )
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
    columns = [
        *_leading(),
        _measured(rows, measures.STUDENT),
        (Column("difference [95 %]"), _ablation_gap),
        *(
            _measured(rows, measure)
            for measure in (measures.MEAN_PEER, measures.ENSEMBLE, measures.DISAGREEMENT)
        ),
    ]
    notes = (INTERVAL_NOTE.format(baseline="the method that is varied"),)
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
    rows: Sequence[Row],
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


def _leading() -> list[tuple[Column, Filler]]:
    return [
        (Column("method", "left"), lambda row: Text(row.label)),
        (Column("n"), lambda row: Text(str(row.n))),
    ]


def _measured(
    rows: Sequence[Row], measure: Measure, heading: str | None = None
) -> tuple[Column, Filler]:
    best = best_of(rows, measure)
    return Column(heading or measure.heading), lambda row: _figure(row, measure, best)


def _figure(row: Row, measure: Measure, best: float | None) -> Cell:
    estimate = row.estimates.get(measure.key)
    if estimate is None:
        return Nothing()
    scaled = Estimate(
        estimate.mean / measure.scale,
        None if estimate.std is None else estimate.std / measure.scale,
        estimate.n,
    )
    return Figure(scaled, measure.digits, is_best(row, measure, best), row.n, measure.exact)


def _difference_column() -> tuple[Column, Filler]:
    return Column("difference [95 %]"), _gap


def _gap(row: Row) -> Cell:
    if row.label == row.compared_with:
        return Nothing("baseline")
    difference = row.differences.get(measures.STUDENT.key)
    if difference is None:
        return Nothing()
    return Gap(difference, measures.STUDENT.digits, row.n)


def _ablation_gap(row: Row) -> Cell:
    return Nothing("varied") if row.of is None else _gap(row)


def _published_column(of: PublishedFigure, rows: Sequence[Row]) -> tuple[Column, Filler]:
    def fill(row: Row) -> Cell:
        for figure in row.published:
            if figure.key == of.key:
                return Published(figure.student, figure.std, figure.ensemble)
        return Nothing()

    found = [figure for row in rows for figure in row.published if figure.key == of.key]
    ensembles = " (ensemble)" if any(figure.ensemble is not None for figure in found) else ""
    return Column(f"{of.table} %{ensembles}"), fill


def _baseline(rows: Sequence[Row]) -> str:
    return rows[0].compared_with if rows else "the baseline"


def _best_note(section: Section) -> str:
    return f"The best epoch is chosen by the student's accuracy on the {section.judged} split" + (
        ", which flatters it." if "test" in section.judged else "."
    )
