"""Reads a run folder: what a report shows of its files, or why there is nothing to show."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdzoo.compose import read_stored
from kdzoo.errors import UserError
from kdzoo.files import read_json
from kdzoo.report.labels import one_line
from kdzoo.training.result import EpochRecord, Percent, Result, check_figures
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import RunIdentity

OF_RUNS = frozenset({"config.yaml", "failure.json", "identity.json", "result.json"})
"""Names by which the folder of a run is known, however much of it is damaged."""


State = Literal["failed", "damaged", "twice", "unfinished", "not run", "unmatched"]
"""Why a run is not in the tables; ``unmatched`` is one that is kept and that nothing asks for."""


class EpochPoint(BaseModel):
    """One point of the learning curves, in percent."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    epoch: Annotated[int, Field(ge=1)]
    student: Percent
    mean_peer: Percent | None = None
    ensemble: Percent | None = None


@dataclass(frozen=True)
class Run:
    """A finished run, by the labels of its place in the tables.

    Attributes:
        dataset, backbone, method: the labels.
        folder: where it was read: its folder or, of a run that is kept, the ``results.json``.
        result: what came of it.
        config: its settings; of a kept run, those that decide the result.
        environment: where it ran.
        curve: what it had learnt after each epoch that was evaluated; empty where that is not kept.
        identity: what it was trained on; None where it does not say.
    """

    dataset: str
    backbone: str
    method: str
    folder: Path
    result: Result
    config: dict[str, Any]
    environment: dict[str, Any]
    curve: tuple[EpochPoint, ...]
    identity: RunIdentity | None

    @property
    def seed(self) -> int:
        return self.result.seed

    @cached_property
    def identity_text(self) -> str | None:
        """The same for two runs that are the same; None where it does not say."""
        return self.identity.text() if self.identity else None

    def __str__(self) -> str:
        return f"{self.dataset} / {self.backbone} / {self.method} / seed {self.seed}"


@dataclass(frozen=True)
class LeftOut:
    """A run that cannot be in the tables, and why; ``folder`` as of :class:`Run`."""

    folder: Path
    state: State
    reason: str

    def __post_init__(self) -> None:
        # Both are as a foreign folder has them, and go into pages and terminals.
        object.__setattr__(self, "reason", one_line(self.reason))


def run_folders(path: Path) -> list[Path]:
    """The folders of runs below a folder, sorted, and those that cannot be looked into.

    Links to folders are followed; what several paths lead to is found once, by the one without
    links if there is one.
    """
    found: set[Path] = set()
    seen: set[str] = set()
    tops = [path]
    for top in tops:
        for folder, folders, files in os.walk(top, onerror=lambda one: found.add(_failed_at(one))):
            place = os.path.realpath(folder)
            if place in seen:
                folders.clear()
                continue
            seen.add(place)
            inside = [Path(folder, name) for name in sorted(folders)]
            tops += [one for one in inside if one.is_symlink()]
            # By names, not by files: where one is a folder or leads to nowhere, a run is damaged.
            if OF_RUNS.intersection(folders + files):
                found.add(Path(folder))
    return sorted(found)


def _failed_at(error: OSError) -> Path:
    return Path(os.fsdecode(error.filename))


def read_run(folder: RunFolder) -> Run | LeftOut:
    """The finished run in a folder, under its own names, or why there is none."""
    try:
        return _finished(folder) if folder.result.exists() else _unfinished(folder)
    except OSError as error:  # a folder that is not for this user
        return LeftOut(folder.path, "damaged", f"It cannot be read: {error.strerror or error}.")


def _finished(folder: RunFolder) -> Run | LeftOut:
    try:
        written = folder.read_result()
        result = check_figures(Result, written, str(folder.result))
        config = read_stored(folder.config)
        curve = tuple(_curve(folder.read_epochs()))
        folder.check_identity_of(written)
    except UserError as error:
        return LeftOut(folder.path, "damaged", str(error))
    return Run(
        dataset=result.dataset,
        backbone=result.backbone,
        method=result.method,
        folder=folder.path,
        result=result,
        config=config,
        environment=_environment(folder),
        curve=curve,
        identity=_identity(folder),
    )


def _identity(folder: RunFolder) -> RunIdentity | None:
    try:
        return folder.read_identity()
    except UserError:  # made by an earlier version
        return None


def _unfinished(folder: RunFolder) -> LeftOut:
    failure = folder.read_failure()
    if failure is not None:
        return LeftOut(folder.path, "failed", f"{failure} The log is {folder.log}.")
    if folder.config.is_file():
        return LeftOut(folder.path, "unfinished", "It is not finished.")
    if folder.identity.is_file() or os.path.lexists(folder.config):
        return LeftOut(folder.path, "damaged", f"{folder.config} is no file.")
    return LeftOut(folder.path, "not run", "It has not begun.")


def _environment(folder: RunFolder) -> dict[str, Any]:
    try:
        environment = read_json(folder.environment)
    except UserError:
        return {}
    return environment if isinstance(environment, dict) else {}


def _curve(epochs: Iterable[EpochRecord]) -> Iterator[EpochPoint]:
    for record in epochs:
        if record.evaluation is not None:
            ensemble = record.evaluation.ensemble
            yield EpochPoint(
                epoch=record.epoch,
                student=record.evaluation.student.top1,
                mean_peer=record.evaluation.mean_peer,
                ensemble=ensemble.top1 if ensemble else None,
            )
