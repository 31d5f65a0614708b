"""``results.json``: every run of a report, with what it was, what came of it and where it ran."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from kdzoo.errors import UserError, quoted
from kdzoo.files import read_json
from kdzoo.report.run_files import Run
from kdzoo.training.result import Result
from kdzoo.training.run_folder import RunFolder

FILE = "results.json"


class Labels(BaseModel):
    """The place of a run in the tables, beside its seed."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    dataset: str
    backbone: str
    method: str


class KeptRun(BaseModel):
    """A run as ``results.json`` keeps it, without its folder."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    labels: Labels
    result: Result
    environment: dict[str, Any] = {}
    """Where it ran: device, precision, threads, versions, commit."""
    identity: dict[str, Any] | None = None
    """What ``identity.json`` holds; reports of earlier versions do not have it."""

    def __str__(self) -> str:
        labels = self.labels
        return f"{labels.dataset} / {labels.backbone} / {labels.method} / seed {self.result.seed}"


def keep(run: Run) -> KeptRun:
    """A finished run in the form that is kept."""
    folder = RunFolder(run.folder)
    try:
        identity = folder.read_identity().to_json()
    except UserError:  # made by an earlier version
        identity = None
    return KeptRun(
        labels=Labels(dataset=run.dataset, backbone=run.backbone, method=run.method),
        result=run.result,
        environment=run.environment,
        identity=identity,
    )


def results_text(runs: Sequence[Run]) -> str:
    """The content of ``results.json``."""
    return json.dumps([keep(run).model_dump(mode="json") for run in runs], indent=1) + "\n"


def read_results(path: Path) -> list[KeptRun]:
    """The runs of a ``results.json``.

    Args:
        path: the file, or the folder of the report that it belongs to.

    Raises:
        UserError: there is none, or it is another thing.
    """
    file = path / FILE if path.is_dir() else path
    content = read_json(file)
    try:
        return TypeAdapter(list[KeptRun]).validate_python(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        reason = f"{place}: {problem['msg']}" if place else f"it holds {quoted(content)}"
        raise UserError(f"{file} is no results.json of kdzoo report: {reason}.") from None
