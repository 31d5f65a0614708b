"""The runs of a spec, finished or left out, under its labels and in its order, for a report."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from kdzoo.bench.kept import have_other_figures, other_figures
from kdzoo.bench.match_kept import match_kept
from kdzoo.bench.matrix import Matrix, PlannedRun
from kdzoo.compose import read_stored
from kdzoo.config import RunConfig
from kdzoo.errors import UnreadableError, UserError
from kdzoo.home import expand_user
from kdzoo.identity import identity_of
from kdzoo.report.collect import Collection, ComparedMethod, sort_out
from kdzoo.report.labels import plain
from kdzoo.report.run_files import LeftOut, Run, read_run
from kdzoo.training.run_folder import RunFolder, place_of
from kdzoo.training.run_identity import RunIdentity, settings_identity


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
    own = [_read_planned(planned) for planned in matrix.runs]
    known = [_known(planned, one) for planned, one in zip(matrix.runs, own, strict=True)]
    matches = match_kept(matrix.kept, matrix.runs, known)
    both = chain.from_iterable(map(_own_first, own, matches.found))
    runs, left_out = sort_out([*both, *matrix.kept.left_out, *matches.left_out])
    sections = dict.fromkeys(places, methods + ablations)
    return Collection(sections, methods[0].label, runs, left_out)


def _known(planned: PlannedRun, own: Run | LeftOut) -> RunIdentity | None:
    """The identity of a run, where nothing has to be looked at for it."""
    if "identity" in vars(planned):  # a bench has identified it
        return planned.identity
    return own.identity if isinstance(own, Run) else None


def _own_first(own: Run | LeftOut, kept: Run | None) -> Iterator[Run | LeftOut]:
    """Of a run, its folder; the kept one where there is none that is finished."""
    if kept is None:
        yield own
    elif isinstance(own, Run):
        yield own
        if have_other_figures(own, kept):
            yield LeftOut(kept.folder, "twice", other_figures(kept, own))
    else:
        yield kept
        if own.state == "damaged":
            yield own


def _read_planned(planned: PlannedRun) -> Run | LeftOut:
    folder = find_run(planned)
    if isinstance(folder, LeftOut):
        return folder
    found = read_run(folder)
    if isinstance(found, LeftOut):
        return found
    if "identity" in vars(planned):
        try:
            folder.check(planned.identity)
        except UserError as error:
            return LeftOut(folder.path, "damaged", str(error))
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

    It is found by the settings, with what is in the method's files in place of their paths, and by
    the ``dataset.root`` in it, so that neither data nor network need be at hand. They are looked at
    where that leaves several folders, or where only the root is another. Of a file that is not at
    hand, such as a teacher, the path has to do.
    """
    place = place_of(planned.config)
    if "folder" in vars(planned):  # a bench has identified it
        return planned.folder
    ours = _Settings(planned.config)
    try:
        alike, closed = _sort(_folders(place, planned.seed), ours)
    except UnreadableError as error:
        return LeftOut(place, "damaged", str(error))
    with_root = [folder for folder in alike if _has_root(folder, planned.config)]
    if len(with_root) == 1:
        return with_root[0]
    if not alike and closed:  # which may be the one
        return closed[0]
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
    try:
        names = sorted(os.listdir(place))
    except PermissionError as error:
        raise UnreadableError(place, error) from None
    except OSError:
        return []
    paths = [place / name for name in names if name.startswith(f"seed{seed}-")]
    return [RunFolder(path) for path in paths if os.path.isdir(path)]


def _sort(
    folders: Sequence[RunFolder], settings: "_Settings"
) -> tuple[list[RunFolder], list[LeftOut]]:
    """The folders in which a run's settings are, and those that this user may not read."""
    alike, closed = [], []
    for folder in folders:
        try:
            if settings.are_in(folder):
                alike.append(folder)
        except UnreadableError as error:
            closed.append(LeftOut(folder.path, "damaged", str(error)))
    return alike, closed


class _Settings:
    """A run's settings, to be found in folders."""

    def __init__(self, config: RunConfig) -> None:
        self.with_paths = config.identity()
        self.with_contents: dict[str, Any] | None
        try:
            self.with_contents = settings_identity(config)
        except UserError:  # such as a teacher that is not here
            self.with_contents = None

    def are_in(self, folder: RunFolder) -> bool:
        """Whether one of the two files that say so does; damage to the other is then said.

        Raises:
            UnreadableError: this user may not read them.
        """
        try:
            found = folder.read_identity().settings
        except UnreadableError:
            raise
        except UserError:
            found = None
        if found is not None and self.with_contents is not None:
            if found == self.with_contents:
                return True
            if self.with_contents != self.with_paths:
                return False  # other files may lie under the same path by now
        try:
            return identity_of(read_stored(folder.config), RunConfig) == self.with_paths
        except UnreadableError:
            raise
        except UserError:
            return False


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
