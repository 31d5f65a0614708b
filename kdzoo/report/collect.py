"""The runs below a folder, labelled so that different ones are told apart and copies count once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.identity import identity_of
from kdzoo.report.labels import tell_apart
from kdzoo.report.run_files import LeftOut, Run, read_run
from kdzoo.training.run_folder import RunFolder


@dataclass(frozen=True)
class ComparedMethod:
    """A method that the tables are to have a row of.

    Attributes:
        label: its name there.
        of: for an ablation, the label of the method that it varies.
    """

    label: str
    of: str | None = None


@dataclass(frozen=True)
class Collection:
    """What was found, and the order in which it is to be shown.

    Attributes:
        places: (data set, backbone) of each section of the report.
        methods: the rows of each section, ablations last.
        runs: the finished runs.
        left_out: the others.
    """

    places: list[tuple[str, str]]
    methods: list[ComparedMethod]
    runs: list[Run]
    left_out: list[LeftOut]


def collect_folder(path: Path) -> Collection:
    """Every run below a folder; those that are called alike are told apart by their settings.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not path.is_dir():
        raise UserError(f"There is no folder {path}.")
    found = {file.parent for name in ("config.yaml", "result.json") for file in path.rglob(name)}
    if not found:
        raise UserError(f"There is no run in {path}: no folder in it has a result.json.")
    runs, left_out = sort_out(read_run(RunFolder(folder)) for folder in sorted(found))
    runs, copies = sort_out(_once(_labelled(runs)))
    # Plain training is what people compare with, so it comes first.
    methods = sorted({run.method for run in runs}, key=lambda name: (name != "independent", name))
    return Collection(
        sorted({(run.dataset, run.backbone) for run in runs}),
        [ComparedMethod(label) for label in methods],
        runs,
        left_out + copies,
    )


def sort_out(found: Iterable[Run | LeftOut]) -> tuple[list[Run], list[LeftOut]]:
    """The finished runs, and the others."""
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for one in found:
        if isinstance(one, Run):
            runs.append(one)
        else:
            left_out.append(one)
    return runs, left_out


def _labelled(runs: list[Run]) -> list[Run]:
    """The runs with labels that no two different configs share."""
    settings = [_identity(run) for run in runs]
    datasets = tell_apart(
        [(run.result.dataset, s.get("dataset")) for run, s in zip(runs, settings, strict=True)]
    )
    backbones = tell_apart(
        [(run.result.backbone, s.get("backbone")) for run, s in zip(runs, settings, strict=True)]
    )
    placed = sorted(
        (
            replace(run, dataset=dataset, backbone=backbone)
            for run, dataset, backbone in zip(runs, datasets, backbones, strict=True)
        ),
        key=_place,
    )
    labelled: list[Run] = []
    for _, group in groupby(placed, key=_place):
        here = list(group)
        methods = tell_apart([(run.result.method, _rest(run)) for run in here])
        labelled += [replace(run, method=method) for run, method in zip(here, methods, strict=True)]
    return labelled


def _once(runs: Iterable[Run]) -> Iterator[Run | LeftOut]:
    """Of several copies of a run, the first."""
    seen: dict[tuple[str, str, str, int], Run] = {}
    for run in runs:
        first = seen.setdefault((run.dataset, run.backbone, run.method, run.seed), run)
        same = f"It is the same run as {first.folder}."
        yield run if first is run else LeftOut(run.folder, "twice", same)


def _place(run: Run) -> tuple[str, str]:
    return run.dataset, run.backbone


def _rest(run: Run) -> dict[str, object]:
    """The settings that make a row of a table: all but its place and its seed."""
    apart = {"dataset", "backbone", "seed"}
    return {key: value for key, value in _identity(run).items() if key not in apart}


def _identity(run: Run) -> dict[str, Any]:
    return identity_of(run.config, RunConfig)
