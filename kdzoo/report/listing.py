"""The runs that are on disk, finished or not: a line each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdzoo.compose import parse_override, read_stored
from kdzoo.errors import UserError, nearest
from kdzoo.report.run_files import Run, read_run, run_folders
from kdzoo.scalars import NOTHING, Scalar, typed
from kdzoo.training.run_folder import RunFolder


@dataclass(frozen=True)
class RunOnDisk:
    """A run as a list shows it.

    Attributes:
        folder: where it is.
        state: ``finished``, or why not, as of :class:`~kdzoo.report.run_files.LeftOut`.
        dataset, backbone, method, seed: what it is; None where its config cannot be read.
        epoch: how many are done.
        student: top-1 in percent, after the last epoch that was evaluated.
        ensemble: likewise.
        seconds: of training.
    """

    folder: Path
    state: str
    dataset: str | None
    backbone: str | None
    method: str | None
    seed: int | None
    epoch: int
    student: float | None
    ensemble: float | None
    seconds: float


COLUMNS = tuple(RunOnDisk.__dataclass_fields__)
"""What runs can be sorted by."""


def list_runs(path: Path, filters: Sequence[str] = (), sort: str = "folder") -> list[RunOnDisk]:
    """Every run below a folder.

    Args:
        path: the folder.
        filters: ``KEY=VALUE`` of the config, such as ``method=mbde`` or ``training.steps=100``.
            What is listed has all of them.
        sort: one of :data:`COLUMNS`; numbers from the highest, with those that have none last.

    Raises:
        UserError: there is no such folder or column, a filter is none, or no run has its key.
    """
    if sort not in COLUMNS:
        raise UserError(f"Runs have no '{sort}' to sort by. {nearest(sort, COLUMNS)}")
    if not path.is_dir():
        raise UserError(f"There is no folder {path}.")
    wanted = [parse_override(one) for one in filters]
    found = [_read(RunFolder(folder)) for folder in run_folders(path)]
    for one, text in zip(wanted, filters, strict=True):
        if found and not any(_has(one, config) for _, config in found):
            key = text.partition("=")[0].strip()
            known = sorted({name for _, config in found for name in config})
            raise UserError(f"No run in {path} has a setting '{key}'. {nearest(key, known)}")
    runs = [run for run, config in found if all(_holds(one, config) for one in wanted)]
    return sorted(runs, key=lambda run: _order(getattr(run, sort)))


def _read(folder: RunFolder) -> tuple[RunOnDisk, dict[str, Any]]:
    run = read_run(folder)
    config = run.config if isinstance(run, Run) else _config(folder)
    epochs = _epochs(folder)
    judged = next((one.evaluation for one in reversed(epochs) if one.evaluation), None)
    seconds = sum(one.seconds for one in epochs)
    if isinstance(run, Run):
        judged, seconds = run.result.last, run.result.seconds
    seed = config.get("seed")
    return (
        RunOnDisk(
            folder=folder.path,
            state="finished" if isinstance(run, Run) else run.state,
            dataset=_name(config.get("dataset")),
            backbone=_name(config.get("backbone")),
            method=_name(config.get("method")),
            seed=seed if isinstance(seed, int) else None,
            epoch=len(epochs),
            student=judged.student.top1 if judged else None,
            ensemble=judged.ensemble.top1 if judged and judged.ensemble else None,
            seconds=seconds,
        ),
        config,
    )


def _config(folder: RunFolder) -> dict[str, Any]:
    try:
        return read_stored(folder.config)
    except UserError:
        return {}


def _epochs(folder: RunFolder) -> list[Any]:
    try:
        return folder.read_epochs()
    except UserError:
        return []


def _name(part: Any) -> str | None:
    if isinstance(part, list):
        return "+".join(str(_name(one)) for one in part)
    if isinstance(part, Mapping):
        part = part.get("name")
    return None if part is None else str(part)


def _has(wanted: Any, there: Any) -> bool:
    """Whether there is a setting of that key at all."""
    if not isinstance(wanted, Mapping):
        return True
    return isinstance(there, Mapping) and all(
        key in there and _has(value, there[key]) for key, value in wanted.items()
    )


def _holds(wanted: Any, there: Any) -> bool:
    """Whether what was typed is what is there; a name stands for a part of that name."""
    if isinstance(wanted, Mapping):
        return all(
            isinstance(there, Mapping) and key in there and _holds(value, there[key])
            for key, value in wanted.items()
        )
    if isinstance(there, Mapping | list) and isinstance(wanted, Scalar):
        return str(wanted) == _name(there)
    if there is None:
        return str(wanted) in NOTHING
    return typed(wanted) == there or str(wanted) == str(there)


def _order(value: Any) -> tuple[bool, Any]:
    if value is None:
        return True, 0
    return False, -value if isinstance(value, int | float) else str(value)
