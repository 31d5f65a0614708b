"""From a spec to its runs, in the order in which they are worth having."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from kdzoo.bench.kept import Kept, read_kept
from kdzoo.bench.rows import Ablation, SpecRow
from kdzoo.bench.spec import Spec, read_spec
from kdzoo.compose import compose, merge_all
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, UnreadableError, UserError
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import Identities, RunIdentity

Layer = tuple[str, Mapping[str, Any]]
"""A place in the spec, such as ``methods.2``, and the run settings that stand there."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a bench, by the labels of its place in the tables.

    Attributes:
        identities: those of the bench's runs, which share data sets and networks.
    """

    dataset: str
    backbone: str
    method: str
    config: RunConfig
    identities: Identities = field(repr=False, compare=False)

    @property
    def seed(self) -> int:
        return self.config.seed

    @cached_property
    def identity(self) -> RunIdentity:
        """What it is to be trained on; the data are loaded and the network is built for it.

        Raises:
            UserError: that is not possible here.
        """
        try:
            return self.identities.identify(self.config)
        except UserError as error:
            raise UserError(f"{self}: {error}") from error

    @cached_property
    def folder(self) -> RunFolder:
        """Where it belongs; raises as :attr:`identity`."""
        return RunFolder.of(self.config, self.identity)

    @property
    def is_finished(self) -> bool:
        """Whether its result is in its folder, and can be relied on."""
        try:
            return self.why_unfinished() is None
        except UserError:
            return False

    def why_unfinished(self) -> str | None:
        """Why what is in its folder is no result that can be relied on; None where it is one.

        It is empty where there is no result yet.

        Raises:
            UserError: the folder holds another run, or is not for this user.
        """
        try:
            if not self.folder.result.exists():
                return ""
        except PermissionError as error:
            raise UnreadableError(self.folder.path, error) from None
        self.folder.check(self.identity)
        return self.folder.damage()

    def __str__(self) -> str:
        return f"{self.dataset} / {self.backbone} / {self.method} / seed {self.seed}"


@dataclass(frozen=True)
class Matrix:
    """A spec and all its runs, and what is kept of such runs."""

    spec: Spec
    runs: tuple[PlannedRun, ...]
    kept: Kept


def read_matrix(path: Path, overrides: Sequence[str] = ()) -> Matrix:
    """The runs of a spec file with overrides ``a.b=value`` laid over it.

    Raises:
        UserError: the file, or a key or value in it, is wrong; the message has the place. Or what
            it says is kept cannot be read.
    """
    try:
        spec = read_spec(path, overrides)
        return Matrix(spec, tuple(_planned(spec)), read_kept(spec.kept))
    except ConfigError as error:
        raise UserError(f"{path}: {error}") from None


def _planned(spec: Spec) -> list[PlannedRun]:
    """The first seed of everything first, so that partial tables are already useful."""
    first: list[PlannedRun] = []
    identities = Identities()
    for dataset, backbone, method in product(
        _places("datasets", spec.datasets),
        _places("backbones", spec.backbones),
        _method_places(spec),
    ):
        layers = [("run", spec.run), *dataset[1], *backbone[1], *method[1]]
        config = _compose(layers).model_copy(update={"out": spec.out})
        first.append(PlannedRun(dataset[0], backbone[0], method[0], config, identities))
    _refuse_same(first)
    return [
        replace(run, config=run.config.model_copy(update={"seed": seed}))
        for seed in spec.seeds
        for run in first
    ]


def _places(field: str, entries: Sequence[SpecRow]) -> list[tuple[str, list[Layer]]]:
    return [(row.label, [(f"{field}.{i}", row.settings)]) for i, row in enumerate(entries)]


def _method_places(spec: Spec) -> list[tuple[str, list[Layer]]]:
    """The methods and, after them, the ablations: each a method with settings on top."""
    methods = _places("methods", spec.methods)
    layers_of = dict(methods)
    return methods + [
        (row.label, [*layers_of[row.of], (f"ablations.{i}", row.settings)])
        for i, row in enumerate[Ablation](spec.ablations)
    ]


def _compose(layers: Sequence[Layer]) -> RunConfig:
    try:
        return compose(settings=merge_all(settings for _, settings in layers))
    except ConfigError as error:
        raise error.inside(_culprit(error.where, layers)) from None


def _culprit(where: tuple[str, ...], layers: Sequence[Layer]) -> str:
    """The place that says the most about the key at ``where``; of equals, the last one counts."""

    def depth(settings: Any) -> int:
        for count, key in enumerate(where):
            if not isinstance(settings, Mapping) or key not in settings:
                return count
            settings = settings[key]
        return len(where)

    return max(reversed(layers), key=lambda layer: depth(layer[1]))[0]


def _refuse_same(runs: Sequence[PlannedRun]) -> None:
    """By their settings alone, so that a spec can be read where its data are not."""
    seen: dict[str, PlannedRun] = {}
    for run in runs:
        settings = [run.config.identity(), str(run.config.dataset.root)]
        twin = seen.setdefault(json.dumps(settings, sort_keys=True), run)
        if twin is not run:
            raise ConfigError(same_run(twin, run))


def same_run(first: PlannedRun, second: PlannedRun) -> str:
    """The message where two places of the tables are one run."""
    return (
        f"'{first.dataset} / {first.backbone} / {first.method}' and '{second.dataset} / "
        f"{second.backbone} / {second.method}' describe the same run. Remove one of them, or "
        "change a setting."
    )
