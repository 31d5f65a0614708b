"""The runs that a spec's ``kept`` names: finished, of which there is ``results.json`` alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.report.results_file import is_written, read_results, restore, results_at
from kdzoo.report.run_files import LeftOut, Run


@dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
        files: every ``results.json``, written or not.
        unwritten: those that no report has written yet.
        runs: what they keep, each run once.
        left_out: the same runs again, where their figures are others.
    """

    files: tuple[Path, ...]
    unwritten: tuple[Path, ...]
    runs: tuple[Run, ...]
    left_out: tuple[LeftOut, ...]


def read_kept(paths: Sequence[Path]) -> Kept:
    """Read what is kept.

    Args:
        paths: ``results.json`` files, and folders of reports. A folder in which there is no report
            yet keeps nothing. Of a run that several keep, the first one counts.

    Raises:
        UserError: a file is not there, or what is there is damaged or another thing.
    """
    files = {results_at(path).absolute(): path for path in paths}
    once: dict[str, Run] = {}
    unknown: list[Run] = []
    left_out: list[LeftOut] = []
    unwritten: list[Path] = []
    for path in files.values():
        file = results_at(path)
        if path != file and not is_written(file):
            unwritten.append(file)
            continue
        for run in (restore(one, file) for one in read_results(file).runs):
            if run.identity_text is None:
                unknown.append(run)
                continue
            first = once.setdefault(run.identity_text, run)
            if have_other_figures(first, run):
                left_out.append(LeftOut(file, "twice", other_figures(run, first)))
    return Kept(
        files=tuple(map(results_at, files.values())),
        unwritten=tuple(unwritten),
        runs=(*once.values(), *unknown),
        left_out=tuple(left_out),
    )


def nothing_yet(file: Path) -> str:
    """The sentence about a file that no report has written yet."""
    return f"There is no {file} yet, so nothing is kept there."


def refuse_to_lose(file: Path, shown: Sequence[Run]) -> None:
    """Where runs are kept, a report takes the place of another only if it has all of its runs.

    Args:
        file: the ``results.json`` that is to be replaced, if there is one.
        shown: the finished runs of the new report.

    Raises:
        UserError: a run would be lost, or its figures, or the file cannot be read.
    """
    if not is_written(file):
        return
    kept = [restore(run, file) for run in read_results(file).runs]
    by_identity = {run.identity_text: run for run in shown if run.identity_text is not None}
    lost = [
        run
        for run in kept
        if (same := by_identity.get(run.identity_text or "")) is None
        or have_other_figures(run, same)
    ]
    if lost:
        more = "" if len(lost) == 1 else f" It is one of {len(lost)}."
        raise UserError(
            f"{file} keeps a run that this report does not have with the same figures, and that "
            f"would be lost: {lost[0]}.{more} Choose another place with --to, name the file in "
            "kept, or remove it."
        )


def have_other_figures(one: Run, other: Run) -> bool:
    """Whether one run came to something else when it was trained another time."""
    return (one.result.last, one.result.best) != (other.result.last, other.result.best)


def other_figures(left_out: Run, shown: Run) -> str:
    """The sentence about a run that is there twice, with figures that are not the same."""
    theirs, ours = left_out.result.last.student.top1, shown.result.last.student.top1
    return (
        f"{left_out}: the same run has other figures in {shown.folder}, which are shown (student "
        f"{theirs:.2f} % and {ours:.2f} %)."
    )
