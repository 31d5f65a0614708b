r"""A report as LaTeX tables, with booktabs, to be read into a paper with ``\input``."""

import re
from collections.abc import Sequence

from kdzoo.report.cells import Cell
from kdzoo.report.labels import one_line
from kdzoo.report.summary import Report
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
LIGATURE = re.compile(r"([-',])(?=\1)")
"""What LaTeX would join with its like: dashes, quotes and commas."""

IN_FORMULA = {
    "\N{MINUS SIGN}": "-",
    "±": r"\pm",
    " [": r"\;[",
    ", ": r",\,",
    " *": r"^{*}",
    ",": "{,}",
}
"""What a figure's text is in LaTeX's mathematics, which has its own minus and spaces."""
FORMULA = re.compile("|".join(map(re.escape, IN_FORMULA)))
REMARK = re.compile(r" \((n=\d+|[a-z ]+)\)")
"""What stands behind a figure in brackets and is no number."""


def latex_report(report: Report) -> str:
    """One ``table`` after the other; the preamble needs ``booktabs`` and ``textcomp``."""
    comments = [f"{name}: {text}" for name, text in (*report.conditions, ("Runs", report.counts))]
    head = [
        r"Needs \usepackage{booktabs,graphicx} and \usepackage[T1]{fontenc}.",
        *comments,
    ]
    lines = "\n".join(f"% {one_line(line)}" for line in head)  # a line break would end the comment
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


def as_latex(cell: Cell) -> str:
    """A cell's LaTeX; figures are set as formulas."""
    if not cell.is_figure:
        return escape(cell.text)
    figure = REMARK.sub("", cell.text)
    formula = FORMULA.sub(lambda match: IN_FORMULA[match[0]], figure)
    if cell.style == "best":
        formula = rf"\mathbf{{{formula}}}"
    remarks = (f"${said}$" if said.startswith("n=") else said for said in REMARK.findall(cell.text))
    return " ".join([f"${formula}$", *(f"({said})" for said in remarks)])
