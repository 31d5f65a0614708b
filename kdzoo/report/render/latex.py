r"""A report as LaTeX tables, with booktabs, to be read into a paper with ``\input``."""

import re
from collections.abc import Sequence
from functools import singledispatch

from kdzoo.report.cells import Cell, Figure, Gap, Published, as_text, number, signed
from kdzoo.report.statistics import Difference
from kdzoo.report.summary import Report, counts
from kdzoo.report.tables import Table, report_tables

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": r"$-$",
    "·": r"\textperiodcentered{}",
    "\N{EN DASH}": r"\textendash{}",
    "\N{NO-BREAK SPACE}": "~",
}
"""Characters that LaTeX reads otherwise, and how they are set."""
LIGATURE = re.compile(r"([-'])(?=\1)")
"""What LaTeX would join with its like: dashes and quotes."""


def latex_report(report: Report) -> str:
    """One ``table`` after the other; the preamble needs ``booktabs`` and ``textcomp``."""
    comments = [f"{name}: {text}" for name, text in (*report.conditions, ("Runs", counts(report)))]
    head = [
        r"Needs \usepackage{booktabs,graphicx} and \usepackage[T1]{fontenc}.",
        *comments,
    ]
    lines = "\n".join(f"% {line}" for line in head)
    return "\n\n".join([lines, *map(_table, report_tables(report))]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX sets as it is."""
    apart = LIGATURE.sub(r"\1{}", "".join(SPECIAL.get(character, character) for character in text))
    # After the end of a row, LaTeX would take these for an argument.
    return f"{{}}{apart}" if apart.startswith(("[", "*")) else apart


def _table(table: Table) -> str:
    alignment = "".join("l" if column.align == "left" else "r" for column in table.columns)
    rows = [_line([as_latex(cell) for cell in row]) for row in table.rows]
    notes = " ".join(escape(note) for note in table.notes)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.full_title)}. {notes}}}",
            rf"\label{{tab:{table.key}}}",
            r"\smallskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            _line([escape(column.heading) for column in table.columns]),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


@singledispatch
def as_latex(cell: Cell) -> str:
    """A cell's LaTeX; figures are set as formulas."""
    return escape(as_text(cell))


@as_latex.register
def _(cell: Figure) -> str:
    estimate, digits = cell.estimate, cell.digits
    formula = _formula(number(estimate.mean, digits))
    if estimate.std is not None and not cell.exact:
        formula += rf" \pm {_formula(number(estimate.std, digits))}"
    if cell.best:
        formula = rf"\mathbf{{{formula}}}"
    return f"${formula}$" + (f" ($n={estimate.n}$)" if estimate.n != cell.n else "")


@as_latex.register
def _(cell: Gap) -> str:
    difference: Difference = cell.difference
    formula = _formula(signed(difference.mean, cell.digits))
    if difference.low is not None and difference.high is not None:
        low, high = signed(difference.low, cell.digits), signed(difference.high, cell.digits)
        formula += rf"\;[{_formula(low)},\,{_formula(high)}]"
    if difference.excludes_zero:
        formula += r"^{*}"
    return f"${formula}$" + (f" ($n={difference.n}$)" if difference.n != cell.n else "")


@as_latex.register
def _(cell: Published) -> str:
    return f"${_formula(as_text(cell))}$"


def _formula(text: str) -> str:
    """A number as LaTeX's mathematics wants it: a hyphen for minus, no space after a comma."""
    return text.replace("\N{MINUS SIGN}", "-").replace(",", "{,}")
