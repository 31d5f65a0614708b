"""The runs below a folder, labelled so that different ones are told apart and copies count once."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.identity import identity_of
from kdzoo.report.labels import short, tell_apart
from kdzoo.report.run_files import LeftOut, Run, read_run, run_folders
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import CONTENT


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
        sections: the rows, ablations last, of each section of the report: (data set, backbone).
        baseline: the label of what others are compared with, unless another is asked for.
        runs: the finished runs.
        left_out: the others.
    """

    sections: dict[tuple[str, str], list[ComparedMethod]]
    baseline: str
    runs: list[Run]
    left_out: list[LeftOut]


def collect_folder(path: Path) -> Collection:
    """Every run below a folder; those that are called alike are told apart by their settings.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not path.is_dir():
        raise UserError(f"There is no folder {path}.")
    found = run_folders(path)
    if not found:
        raise UserError(f"There is no run in {path}: no folder in it has a result.json.")
    runs, left_out = sort_out(read_run(RunFolder(folder)) for folder in found)
    runs, copies = sort_out(_once(_labelled(runs)))
    there: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        there[_place(run)].add(run.method)
    sections = {
        place: [ComparedMethod(label) for label in sorted(there[place], key=_plain_training_first)]
        for place in sorted(there)
    }
    baseline = min({run.method for run in runs}, key=_plain_training_first, default="")
    return Collection(sections, baseline, runs, left_out + copies)


def _plain_training_first(method: str) -> tuple[bool, str]:
    """Sorts labels; plain training is what people compare with."""
    return method != "independent", method


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
    """The runs with labels that no two different runs share."""
    settings = _settings_of(runs)
    names = [run.result.dataset for run in runs]
    data = [_part(run, "data") for run in runs]
    datasets = tell_apart(
        [
            (name, {**_mapping(one.get("dataset")), "root": root})
            for name, one, root in zip(names, settings, _roots(runs, data), strict=True)
        ]
    )
    backbones = _told_apart(
        datasets,
        [run.result.backbone for run in runs],
        [_mapping(one.get("backbone")) for one in settings],
        [_part(run, "networks") for run in runs],
    )
    placed = sorted(
        (
            (replace(run, dataset=dataset, backbone=backbone), _rest(one))
            for run, dataset, backbone, one in zip(runs, datasets, backbones, settings, strict=True)
        ),
        key=lambda pair: _place(pair[0]),
    )
    labelled: list[Run] = []
    for _, group in groupby(placed, key=lambda pair: _place(pair[0])):
        pairs = list(group)
        here = [run for run, _ in pairs]
        methods = _told_apart(
            [""] * len(here),
            [run.result.method for run in here],
            [rest for _, rest in pairs],
            [_part(run, "code") for run in here],
        )
        labelled += [replace(run, method=method) for run, method in zip(here, methods, strict=True)]
    return labelled


def _told_apart(
    places: list[str], names: list[str], settings: list[dict[str, Any]], code: list[str]
) -> list[str]:
    """Labels from names and settings and, where equal settings stood for other code in one place,
    the number of the version.
    """
    same = [json.dumps(one, default=str) for one in zip(places, names, settings, strict=True)]
    versions = _versions(same, code)
    return tell_apart(
        [
            (name, {**one, "version": version if version > 1 else None})
            for name, one, version in zip(names, settings, versions, strict=True)
        ]
    )


def _roots(runs: list[Run], data: list[str]) -> list[str]:
    """What to call the data of each run."""
    return _places([run.result.dataset for run in runs], [_root(run) for run in runs], data)


def _places(names: list[str], paths: list[str], things: list[str]) -> list[str]:
    """What to call each thing: where it first lay, and which of several of its name lay there."""
    first: dict[str, str] = {}
    places = [
        first.setdefault(thing, path) if thing else path
        for path, thing in zip(paths, things, strict=True)
    ]
    versions = _versions(
        [json.dumps(one, default=str) for one in zip(names, places, strict=True)], things
    )
    return [
        place if version == 1 else f"{place}, version {version}"
        for place, version in zip(places, versions, strict=True)
    ]


def _versions(groups: list[str], things: list[str]) -> list[int]:
    """The number of each thing among the different ones of its group, from 1; what is not known,
    an empty text, is taken for the first.
    """
    seen: dict[str, dict[str, int]] = {}
    versions = []
    for group, thing in zip(groups, things, strict=True):
        numbers = seen.setdefault(group, {})
        versions.append(numbers.setdefault(thing, len(numbers) + 1) if thing else 1)
    return versions


def _once(runs: Iterable[Run]) -> Iterator[Run | LeftOut]:
    """Of several copies of a run, the first."""
    seen: dict[tuple[str, str, str, int], Run] = {}
    for run in runs:
        first = seen.setdefault((run.dataset, run.backbone, run.method, run.seed), run)
        same = f"It is the same run as {first.folder}."
        yield run if first is run else LeftOut(run.folder, "twice", same)


def _place(run: Run) -> tuple[str, str]:
    return run.dataset, run.backbone


def _rest(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that make a row of a table: all but its place and its seed."""
    apart = {"dataset", "backbone", "seed"}
    return {key: value for key, value in settings.items() if key not in apart}


def _settings_of(runs: list[Run]) -> list[dict[str, Any]]:
    """The settings of each run, in which a file of the method, such as a teacher, has one name."""
    settings = [identity_of(run.config, RunConfig) for run in runs]
    contents = [_contents(run) for run in runs]
    for field in sorted({field for held in contents for field in held}):
        names = _places(
            [run.result.method for run in runs],
            [short(_mapping(one.get("method")).get(field)) for one in settings],
            [held.get(field, "") for held in contents],
        )
        for one, held, name in zip(settings, contents, names, strict=True):
            if field in held:
                one["method"] = {**_mapping(one.get("method")), field: name}
    return settings


def _contents(run: Run) -> dict[str, str]:
    """What is in the files that the method read, by setting; nothing where it does not say."""
    method = run.identity.settings.get("method") if run.identity else {}
    return {
        field: json.dumps(value)
        for field, value in _mapping(method).items()
        if isinstance(value, dict) and value.keys() == {CONTENT}
    }


def _root(run: Run) -> str:
    return str(_mapping(run.config.get("dataset")).get("root"))


def _part(run: Run, part: Literal["data", "networks", "code"]) -> str:
    """A part of what the run says that it was trained on; nothing where it does not say."""
    return json.dumps(run.identity.to_json()[part], sort_keys=True) if run.identity else ""


def _mapping(settings: Any) -> dict[str, Any]:
    """A part's settings as a mapping; those of a foreign run may be anything."""
    return settings if isinstance(settings, dict) else {"settings": settings}
