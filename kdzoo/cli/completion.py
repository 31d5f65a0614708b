"""What the shell is offered while a command is typed (tab completion); nothing here needs torch."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

MOST_FOLDERS = 20_000
"""Folders that are looked through for runs; nobody waits for more."""
NAMED = {
    "method": "methods",
    "backbone": "backbones",
    "dataset": "datasets",
    "method.aggregator": "aggregators",
    "method.regularizers": "regularizers",
    "method.divergence": "divergences",
    "method.feature_terms": "feature_terms",
    "launcher": "launchers",
}
"""The settings whose values are the names of a registry."""


def one_of_these(choices: list[str]) -> Callable[[str], list[str]]:
    """Offers words that are the only ones to choose from."""

    def complete(incomplete: str) -> list[str]:
        return [one for one in choices if one.startswith(incomplete)]

    return complete


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offers the names of what ``kdzoo show`` is to explain."""
    from kdzoo import registry
    from kdzoo.compose import recipe_names
    from kdzoo.optim.schedule import SCHEDULES

    known = {one.kind: one.names for one in registry.ALL.values()}
    known |= {"recipe": recipe_names, "schedule": lambda: list(SCHEDULES)}
    found = known.get(ctx.params.get("thing") or "", list)()
    return [name for name in found if name.startswith(incomplete)]


def run_folders(incomplete: str) -> list[str]:
    """Offers the folders of runs below what is typed, or below ``runs``."""
    begun = Path(incomplete).expanduser()
    root = begun if incomplete.endswith("/") else begun.parent
    if not incomplete and Path("runs").is_dir():
        root = Path("runs")
    return [one for one in map(str, _runs_below(root)) if one.startswith(str(begun)[:-1])]


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offers bundled recipes, the keys of a run's config and, once there is one, its values."""
    from kdzoo.compose import recipe_names

    word, cut = _word(incomplete)
    if "=" in word:
        key = word.partition("=")[0]
        found = [f"{key}={value}" for value in _values(key, _chosen(ctx))]
    else:
        fields = _fields(_chosen(ctx))
        keys = [f"{key}=" for key in fields if key.startswith(word)]
        found = [one for one in recipe_names() if one.startswith(word)]
        if len(keys) == 1 and not found:
            # With a value at hand, the shell puts no space behind the key.
            key = keys[0].removesuffix("=")
            found += [f"{key}={value}" for value in _values(key, _chosen(ctx))]
        found += keys
    return [one.removeprefix(cut) for one in found if one.startswith(word)]


def runs_and_settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offers folders of runs, and the keys of their data."""
    word, _ = _word(incomplete)
    own = settings(ctx, incomplete)
    if "=" in word:
        return own
    return [*run_folders(incomplete), *(one for one in own if one.startswith("dataset"))]


def _word(incomplete: str) -> tuple[str, str]:
    """The whole word that is being typed, and what of it the shell takes for other words.

    bash takes ``method=mb`` for three words, of which it completes the last one.
    """
    words = os.environ.get("COMP_WORDS")
    if words is None:
        return incomplete, ""
    typed = words.split("\n")[: int(os.environ.get("COMP_CWORD", "0")) + 1]
    match typed:
        case [*_, key, "="]:
            return f"{key}=", f"{key}="
        case [*_, key, "=", value]:
            return f"{key}={value}", f"{key}="
    return incomplete, ""


def _chosen(ctx: typer.Context) -> dict[str, str]:
    """What has been chosen by name so far, such as the method whose settings are meant."""
    given = ctx.params.get("settings") or ctx.params.get("arguments") or []
    line = " ".join(map(str, given)).replace(" = ", "=")  # as bash had it
    pairs = (one.partition("=") for one in line.split() if "=" in one)
    return {key.removesuffix(".name"): value for key, _, value in pairs}


def _fields(chosen: Mapping[str, str]) -> dict[str, "FieldInfo"]:
    """Every setting of a run by its dotted key, with those of the parts chosen so far."""
    from kdzoo.config import RunConfig

    return dict(_flat("", RunConfig, chosen))


def _flat(
    prefix: str, config: "type[BaseModel]", chosen: Mapping[str, str]
) -> Iterator[tuple[str, "FieldInfo"]]:
    from pydantic import BaseModel

    for name, field in config.model_fields.items():
        key = f"{prefix}{name}"
        part = _config_of(key, chosen)
        if part is None and isinstance(field.default, BaseModel):
            part = type(field.default)
        if name != "name":
            yield key, field
        if part is not None and part is not config:
            yield from _flat(f"{key}.", part, chosen)


def _config_of(key: str, chosen: Mapping[str, str]) -> "type[BaseModel] | None":
    """The settings of what is chosen for a key by name, or by default."""
    from kdzoo import registry
    from kdzoo.config import RunConfig
    from kdzoo.errors import UserError
    from kdzoo.optim.schedule import schedule_config

    if key not in ("method", "dataset", "schedule"):
        return None
    name = chosen.get(key) or RunConfig.model_fields[key].get_default(call_default_factory=True)
    name = getattr(name, "name", name)
    try:
        if key == "schedule":
            return schedule_config(str(name))
        return registry.ALL[f"{key}s"].get_config(str(name))
    except UserError:
        return None


def _values(key: str, chosen: Mapping[str, str]) -> list[str]:
    """What a setting can be, as far as it is one of a few, or its default."""
    from kdzoo import registry
    from kdzoo.optim.schedule import SCHEDULES

    key = key.removesuffix(".name")
    if key in NAMED:
        return registry.ALL[NAMED[key]].names()
    if key == "schedule":
        return list(SCHEDULES)
    field = _fields(chosen).get(key)
    if field is None:
        return []
    default = getattr(field.default, "name", field.default)
    plain = isinstance(default, bool | int | float | str)
    words = [*dict.fromkeys(_words(field.annotation)), *([_typed(default)] if plain else [])]
    return list(dict.fromkeys(words))


def _words(kind: Any) -> Iterator[str]:
    """The values of a type that has few."""
    if kind is bool:
        yield from ("true", "false")
    elif get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _words(one)


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _runs_below(root: Path) -> Iterator[Path]:
    for count, (folder, folders, files) in enumerate(os.walk(root)):
        if count >= MOST_FOLDERS:
            return
        folders.sort()
        if "config.yaml" in files or "student.json" in files:
            yield Path(folder)
