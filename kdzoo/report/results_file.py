"""``results.json``: every run of a report, with what it was, what came of it and where it ran.

It keeps all that a report shows, so that the report can be made again without the run folders, and
a checksum of it: published figures are not to change unnoticed.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kdzoo.errors import UserError, quoted
from kdzoo.files import read_json
from kdzoo.report.labels import plain
from kdzoo.report.run_files import EpochPoint, Run, State
from kdzoo.report.summary import Report
from kdzoo.seal import KEY, is_broken, seal
from kdzoo.training.result import Result
from kdzoo.training.run_identity import RunIdentity

FILE = "results.json"


class _Kept(BaseModel):
    """Later versions may write more than is read here, but nothing is taken for what it is not."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Labels(_Kept):
    """The place of a run in the tables, beside its seed."""

    dataset: str
    backbone: str
    method: str


class KeptRun(_Kept):
    """A run as ``results.json`` keeps it, without its folder."""

    labels: Labels
    result: Result
    environment: dict[str, Any] = {}
    """Where it ran: device, precision, threads, versions, commit."""
    identity: dict[str, Any] | None = None
    """What ``identity.json`` holds; reports of earlier versions do not have it."""
    curve: Annotated[tuple[EpochPoint, ...], Field(strict=False)] = ()
    """Its learning curves; reports of earlier versions do not have them."""

    @model_validator(mode="after")
    def _epoch_after_epoch(self) -> "KeptRun":
        epochs = [point.epoch for point in self.curve]
        if sorted(set(epochs)) != epochs or max(epochs, default=0) > self.result.epochs:
            raise ValueError("the epochs of its curve are not in order, or more than it has")
        return self

    def __str__(self) -> str:
        labels = self.labels
        return f"{labels.dataset} / {labels.backbone} / {labels.method} / seed {self.result.seed}"


class KeptRow(_Kept):
    """A row of the tables; ``of`` names the method that an ablation varies."""

    method: str
    of: str | None = None


class KeptSection(_Kept):
    """The rows of a section, in their order, with runs or without."""

    dataset: str
    backbone: str
    rows: Annotated[tuple[KeptRow, ...], Field(strict=False)]


class Results(_Kept):
    """A ``results.json``. Earlier versions wrote the list of the runs alone."""

    title: str | None = None
    baseline: str | None = None
    published: bool = False
    sections: Annotated[tuple[KeptSection, ...], Field(strict=False)] | None = None
    left_out: dict[State, Annotated[int, Field(ge=1, le=10**4)]] = {}
    """How many runs the report left out; which, only their folders say."""
    runs: Annotated[tuple[KeptRun, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _each_run_has_one_place(self) -> "Results":
        twice = [run for run, times in Counter(map(str, self.runs)).items() if times > 1]
        if twice:
            raise ValueError(f"{quoted(twice[0])} is in it twice")
        if self.sections is not None:
            rows = [
                (section.dataset, section.backbone, row.method)
                for section in self.sections
                for row in section.rows
            ]
            places = set(rows)
            if len(places) < len(rows):
                raise ValueError("a row of its sections is in it twice")
            for section in self.sections:
                varied = {row.method for row in section.rows if row.of is None}
                for row in section.rows:
                    if row.of is not None and row.of not in varied:
                        raise ValueError(f"{quoted(row.method)} varies a method that has no row")
            for run in self.runs:
                if tuple(run.labels.model_dump().values()) not in places:
                    raise ValueError(f"{quoted(str(run))} is in none of its sections")
        return self


def keep(run: Run) -> KeptRun:
    """A finished run in the form that is kept."""
    return KeptRun(
        labels=Labels(dataset=run.dataset, backbone=run.backbone, method=run.method),
        result=run.result,
        environment=run.environment,
        identity=run.identity.to_json() if run.identity else None,
        curve=run.curve,
    )


def restore(kept: KeptRun, file: Path) -> Run:
    """A kept run as a report shows it.

    Args:
        kept: the run.
        file: the ``results.json`` that it is of.

    Raises:
        UserError: its identity is none.
    """
    try:
        identity = None if kept.identity is None else RunIdentity.from_json(kept.identity)
    except ValueError:
        raise UserError(
            f"{file}: what {quoted(str(kept))} was, its identity, cannot be read."
        ) from None
    return Run(
        dataset=plain(kept.labels.dataset),
        backbone=plain(kept.labels.backbone),
        method=plain(kept.labels.method),
        folder=file,
        result=kept.result,
        config=identity.settings if identity else {},
        environment=kept.environment,
        curve=kept.curve,
        identity=identity,
    )


def results_text(report: Report) -> str:
    """The content of ``results.json``."""
    results = Results(
        title=report.title,
        baseline=report.baseline,
        published=report.published,
        sections=tuple(
            KeptSection(
                dataset=section.dataset,
                backbone=section.backbone,
                rows=tuple(KeptRow(method=row.label, of=row.of) for row in section.rows),
            )
            for section in report.sections
        ),
        left_out=dict(Counter(one.state for one in report.left_out)),
        runs=tuple(map(keep, report.runs)),
    )
    sealed = seal(results.model_dump(mode="json"))
    return json.dumps({KEY: sealed.pop(KEY), **sealed}, indent=1) + "\n"


def results_at(path: Path) -> Path:
    """The ``results.json`` that a path means: the file itself, or that of a report's folder."""
    return path if path.suffix == ".json" and not path.is_dir() else path / FILE


def is_written(file: Path) -> bool:
    """Whether there is a ``results.json``, be it one that cannot be read."""
    try:
        os.lstat(file)
    except FileNotFoundError:
        return False
    except OSError:  # such as a folder that is not for this user: reading tells
        return True
    return True


def read_results(path: Path) -> Results:
    """What a ``results.json`` keeps.

    Args:
        path: the file, or the folder of the report that it belongs to.

    Raises:
        UserError: there is none, it is another thing, or it is not as it was written.
    """
    file = path / FILE if path.is_dir() else path
    content = read_json(file)
    if isinstance(content, dict) and is_broken(content):
        raise UserError(
            f"{file} is damaged, or somebody has changed it: its checksum is another. Get it "
            f"again; if you trust what it says, take the checksum out, '{KEY}' in its second line."
        )
    try:
        return Results.model_validate({"runs": content} if isinstance(content, list) else content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        said = problem["msg"].removeprefix("Value error, ")
        reason = f"{place}: {said}" if place else said
        raise UserError(f"{file} is no results.json of kdzoo report: {reason}.") from None
