"""The runs of a spec, finished or left out, under its labels and in its order, for a report."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdzoo.bench.matrix import Matrix, PlannedRun
from kdzoo.compose import read_stored
from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import identity_of
from kdzoo.report.collect import Collection, ComparedMethod, sort_out
from kdzoo.report.labels import plain
from kdzoo.report.run_files import LeftOut, Run, read_run
from kdzoo.training.eval_every import settle
from kdzoo.training.run_folder import RunFolder, place_of


def collect_matrix(matrix: Matrix) -> Collection:
    """The runs of a spec, whichever of them are finished."""
    spec = matrix.spec
    places = [
        (plain(dataset.label), plain(backbone.label))
        for dataset in spec.datasets
        for backbone in spec.backbones
    ]
    methods = [ComparedMethod(plain(row.label)) for row in spec.methods]
    ablations = [ComparedMethod(plain(row.label), plain(row.of)) for row in spec.ablations]
    runs, left_out = sort_out(map(_read_planned, matrix.runs))
    return Collection(places, methods + ablations, runs, left_out)


def _read_planned(planned: PlannedRun) -> Run | LeftOut:
    folder = find_run(planned)
    if isinstance(folder, LeftOut):
        return folder
    found = read_run(folder)
    if isinstance(found, LeftOut):
        return found
    asked = (planned.config.method.name, planned.config.backbone_name, planned.seed)
    if (found.result.method, found.result.backbone, found.result.seed) != asked:
        return LeftOut(folder.path, "damaged", "Its result.json is that of another run.")
    return replace(
        found,
        dataset=plain(planned.dataset),
        backbone=plain(planned.backbone),
        method=plain(planned.method),
    )


def find_run(planned: PlannedRun) -> RunFolder | LeftOut:
    """The folder of a run, or why there is none.

    It is found by the settings and the ``dataset.root`` in it, so that neither data nor network
    need be at hand. They are looked at where that leaves several folders, or where only the root is
    another.
    """
    place = place_of(planned.config)
    if "folder" in vars(planned):  # a bench has identified it
        return planned.folder
    alike = [folder for folder in _folders(place, planned.seed) if _has_settings(folder, planned)]
    with_root = [folder for folder in alike if _has_root(folder, planned.config)]
    if len(with_root) == 1:
        return with_root[0]
    if not alike:
        return LeftOut(place, "not run", f"No run of seed {planned.seed} has these settings.")
    try:
        return planned.folder
    except UserError as error:
        if not with_root:
            return LeftOut(place, "not run", f"No run of seed {planned.seed} is on these data.")
        listed = " and ".join(str(folder.path) for folder in with_root)
        why = f"{listed} have the same settings, and which is meant cannot be seen: {error}"
        return LeftOut(with_root[0].path, "twice", why)


def _folders(place: Path, seed: int) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(place.glob(f"seed{seed}-*/"))]


def _has_settings(folder: RunFolder, planned: PlannedRun) -> bool:
    """Whether one of the two files that say so does; damage to the other is then said."""
    config = planned.config
    with suppress(UserError):
        config = settle(config, folder.read_identity().data.samples)
    ours = config.identity()
    return any(_left_open(settings, ours) == ours for settings in _settings_in(folder))


def _left_open(settings: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """A run's settings, without what it settled itself where nothing tells how it did that."""
    training, every = settings.get("training"), ours["training"]["eval_every"]
    if every != "auto" or not isinstance(training, dict):
        return settings
    return {**settings, "training": {**training, "eval_every": every}}


def _settings_in(folder: RunFolder) -> Iterator[dict[str, Any]]:
    with suppress(UserError):
        yield identity_of(read_stored(folder.config), RunConfig)
    with suppress(UserError):
        yield folder.read_identity().settings


def _has_root(folder: RunFolder, config: RunConfig) -> bool:
    """Whether its data lie at the same place, however the path is written."""
    try:
        dataset = read_stored(folder.config).get("dataset")
    except UserError:
        return True  # the report names the damage
    stored = str(dataset.get("root") if isinstance(dataset, dict) else None)
    try:
        return expand_user(stored).resolve() == expand_user(config.dataset.root).resolve()
    except UserError:  # of somebody whose home is not here
        return False
