"""A benchmark's spec: what is compared, how it is shown, and how it is run."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, ValidationInfo

from kdzoo.bench.rows import ABLATIONS, Ablation, SpecRow, check_settings, rows
from kdzoo.component import Component, by_name, has_home, named, validate
from kdzoo.compose import merge_all, nested, parse_override, read_yaml
from kdzoo.errors import ConfigError, UserError, nearest, quoted
from kdzoo.files import is_file
from kdzoo.home import expand_user
from kdzoo.registry import launchers
from kdzoo.report.summary import Presentation
from kdzoo.scalars import NOTHING, typed


def _settings(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(
            f"This should be a mapping such as 'epochs: 30', not {quoted(value)}.", ("run",)
        )
    settings = nested(value)
    if "name" in settings:  # what run=TEXT becomes where it is laid over a mapping
        raise ConfigError(
            f"This takes settings, such as run.epochs=30, not {quoted(settings['name'])}.",
            ("run",),
        )
    check_settings(settings, ("run",))
    return settings


def _seeds(value: Any) -> Any:
    if isinstance(value, str):  # 3 could be one seed, or three
        raise ConfigError(
            f"This should be a list, such as [0, 1, 2], not {quoted(value)}.", ("seeds",)
        )
    return typed(value)


def _paths(value: Any) -> tuple[Path, ...]:
    if value is None or (isinstance(value, str) and value in NOTHING):
        return ()
    paths = [value] if isinstance(value, str | Path) else value
    if not isinstance(paths, list | tuple) or not all(
        isinstance(one, str | Path) and str(one) for one in paths
    ):
        raise ConfigError(
            f"This should be a path, such as results/mine, or a list of them, not {quoted(value)}.",
            ("kept",),
        )
    return tuple(map(expand_user, paths))


Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]


class Spec(Presentation):
    """Every method on every backbone on every data set with every seed."""

    methods: Annotated[tuple[SpecRow, ...], rows("method")]
    """The rows of the tables: names, or mappings with a ``label`` and run settings."""
    backbones: Annotated[tuple[SpecRow, ...], rows("backbone")]
    """The networks, likewise."""
    datasets: Annotated[tuple[SpecRow, ...], rows("dataset")]
    """The data, likewise."""
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds)] = (0, 1, 2)
    """One run of everything for each."""
    run: Annotated[dict[str, Any], BeforeValidator(_settings)] = {}
    """Settings of every run, as in a recipe; the lists' own settings come on top."""
    ablations: Annotated[tuple[Ablation, ...], ABLATIONS] = ()
    """Variations of the methods: ``of: LABEL`` and the settings to change."""

    kept: Annotated[tuple[Path, ...], BeforeValidator(_paths)] = ()
    """Reports whose runs count as finished: their folders, or ``results.json`` files. What a spec
    says is relative to its file, what is typed on the command line to where one is."""
    out: Annotated[str, Field(min_length=1), AfterValidator(has_home)] = "runs"
    """The folder that holds the run folders; specs with the same one share runs."""
    jobs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """How many runs at a time; ``auto`` is as many as the launcher has room for."""
    launcher: Annotated[Component, by_name(launchers)] = named("local")
    """Where runs are carried out: ``local``, ``ray`` or ``submitit``, or a name with settings."""

    @property
    def baseline_label(self) -> str:
        """The method that the others are compared with."""
        return self.baseline or self.methods[0].label


def read_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """A spec file with overrides ``a.b=value`` laid over it.

    Raises:
        UserError: there is no such file, or it is no YAML.
        ConfigError: a key or value in it is wrong; ``where`` is the place.
    """
    for override in overrides:
        if "=" not in override:
            raise UserError(f"{quoted(override)} is no override; write KEY=VALUE, e.g. jobs=2.")
    if not is_file(path):
        raise UserError(f"There is no spec {path}. A spec is a YAML file: see docs/benchmarks.md.")
    written = read_yaml(path)
    if "kept" in written:
        written = {**written, "kept": [path.parent / one for one in _paths(written["kept"])]}
    values = merge_all([{"title": path.stem}, written, *map(parse_override, overrides)])
    spec = validate(Spec, values)
    _check(spec)
    return spec


def _check(spec: Spec) -> None:
    lists = {"methods": spec.methods, "backbones": spec.backbones, "datasets": spec.datasets}
    for field, entries in {**lists, "seeds": spec.seeds}.items():
        if not entries:
            raise ConfigError("The list is empty, so there is nothing to run.", (field,))
    for field in ("backbones", "datasets"):
        _refuse_twice((row.label for row in lists[field]), field)
    _refuse_twice((row.label for row in (*spec.methods, *spec.ablations)), "methods and ablations")
    _refuse_twice(map(str, spec.seeds), "seeds")
    methods = [row.label for row in spec.methods]
    if spec.baseline_label not in methods:
        raise ConfigError(
            f"There is no method '{spec.baseline_label}' in the spec. "
            f"{nearest(spec.baseline_label, methods)}",
            ("baseline",),
        )
    for index, ablation in enumerate(spec.ablations):
        if ablation.of not in methods:
            raise ConfigError(
                f"There is no method '{ablation.of}' in the spec. {nearest(ablation.of, methods)}",
                ("ablations", str(index), "of"),
            )


def _refuse_twice(labels: Iterable[str], field: str) -> None:
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ConfigError(f"'{twice[0]}' is there twice.", (field,))
