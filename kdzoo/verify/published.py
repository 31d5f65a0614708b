"""The run of a published table that is meant."""

import os
from collections.abc import Sequence
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.report.results_file import FILE, KeptRun, keep, read_results
from kdzoo.report.run_files import OF_RUNS, LeftOut, read_run
from kdzoo.training.run_folder import RunFolder


def find_run(
    published: Path,
    dataset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    seed: int | None = None,
) -> tuple[KeptRun, list[KeptRun]]:
    """The one run of a table that is meant, and all runs of its row.

    Args:
        published: a ``results.json``, the folder of a report, or that of one finished run.
        dataset: the label that the run has; any by default, as are those that follow.
        backbone: likewise.
        method: likewise.
        seed: likewise.

    Raises:
        UserError: there is no such run, or there are several.
    """
    runs = kept_in(published)
    wanted = (dataset, backbone, method)
    found = [
        run
        for run in runs
        if all(one in (None, label) for one, label in zip(wanted, _labels(run), strict=True))
        and seed in (None, run.result.seed)
    ]
    if not runs:
        raise UserError(f"{published} holds no runs: there is nothing to verify.")
    if len(found) != 1:
        are = "is no such run" if not found else f"are {len(found)} such runs"
        raise UserError(
            f"There {are} in {published}. Name one by --method, --seed, --backbone and --dataset:",
            *(f"  {run}" for run in (found or runs)),
        )
    return found[0], [run for run in runs if _labels(run) == _labels(found[0])]


def kept_in(published: Path) -> list[KeptRun]:
    """The runs of a report, or the one of a run's folder.

    Raises:
        UserError: it is neither, or cannot be read.
    """
    if published.is_dir() and not (published / FILE).exists():
        folder = RunFolder(published)
        if not OF_RUNS.intersection(os.listdir(published)):
            below = sorted(one.parent for one in published.rglob(folder.result.name))
            raise UserError(_no_run(published, below))
        run = read_run(folder)
        if isinstance(run, LeftOut):
            raise UserError(f"{published} has no {FILE}, and is no finished run: {run.reason}")
        return [keep(run)]
    return list(read_results(published).runs)


def _no_run(folder: Path, below: Sequence[Path]) -> str:
    """What to say of a folder that is neither a report's nor a run's."""
    if not below:
        return f"{folder} has no {FILE}, and there is no finished run in it."
    return (
        f"{folder} is a folder of runs, and one at a time is verified: of {len(below)}, "
        f"{below[0]} is one. kdzoo report {folder} writes the {FILE} from which --method and "
        "--seed choose."
    )


def _labels(run: KeptRun) -> tuple[str, str, str]:
    return run.labels.dataset, run.labels.backbone, run.labels.method
