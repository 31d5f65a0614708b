"""From a spec to its runs, in the order in which they are worth having."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from kdzoo.bench.rows import Ablation, Row
from kdzoo.bench.spec import Spec, read_spec
from kdzoo.compose import compose, merge_all
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, UserError
from kdzoo.training.run_folder import RunFolder

Layer = tuple[str, Mapping[str, Any]]
"""A place in the spec, such as ``methods.2``, and the run settings that stand there."""


@dataclass(frozen=True)
class Cell:
    """One run of a bench, by the labels of its place in the tables."""

    dataset: str
    backbone: str
    method: str
    config: RunConfig

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def folder(self) -> RunFolder:
        return RunFolder.of(self.config)

    def __str__(self) -> str:
        return f"{self.dataset} / {self.backbone} / {self.method} / seed {self.seed}"


@dataclass(frozen=True)
class Matrix:
    """A spec and all its runs."""

    spec: Spec
    cells: tuple[Cell, ...]


def read_matrix(path: Path, overrides: Sequence[str] = ()) -> Matrix:
    """The runs of a spec file with overrides ``a.b=value`` laid over it.

    Raises:
        UserError: the file, or a key or value in it, is wrong; the message has the place.
    """
    try:
        spec = read_spec(path, overrides)
        return Matrix(spec, tuple(_cells(spec)))
    except ConfigError as error:
        raise UserError(f"{path}: {error}") from None


def _cells(spec: Spec) -> list[Cell]:
    """The first seed of everything first, so that partial tables are already useful."""
    first: list[Cell] = []
    for dataset, backbone, method in product(
        _places("datasets", spec.datasets),
        _places("backbones", spec.backbones),
        _method_places(spec),
    ):
        layers = [("run", spec.run), *dataset[1], *backbone[1], *method[1]]
        config = _compose(layers).model_copy(update={"out": spec.out})
        first.append(Cell(dataset[0], backbone[0], method[0], config))
    _refuse_same(first)
    return [
        Cell(
            cell.dataset, cell.backbone, cell.method, cell.config.model_copy(update={"seed": seed})
        )
        for seed in spec.seeds
        for cell in first
    ]


def _places(field: str, entries: Sequence[Row]) -> list[tuple[str, list[Layer]]]:
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


def _refuse_same(all_cells: Sequence[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in all_cells:
        twin = seen.setdefault(str(cell.folder.path), cell)
        if twin is not cell:
            raise ConfigError(
                f"'{twin.dataset} / {twin.backbone} / {twin.method}' and '{cell.dataset} / "
                f"{cell.backbone} / {cell.method}' describe the same run. Remove one of them, or "
                "change a setting.",
            )
