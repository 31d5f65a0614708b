"""The entries of a spec's lists: a name, or run settings with a label."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from kdzoo.component import Config
from kdzoo.compose import nested
from kdzoo.errors import ConfigError, quoted
from kdzoo.report.labels import flatten, short

OF_THE_SPEC = {
    "seed": "Give the seeds in the list 'seeds' at the top of the spec.",
    "out": "Give 'out' once, at the top of the spec.",
    "resume": "A bench always goes on with unfinished runs; to start one over, remove its folder.",
}


AS_WRITTEN = BeforeValidator(dict)
"""For settings whose text the run's own config reads, which knows their types."""


class SpecRow(Config):
    """One method, backbone or data set of a spec."""

    label: str
    """What tables call it."""
    settings: Annotated[dict[str, Any], AS_WRITTEN]
    """The run settings it stands for, nested as in a recipe."""


class Ablation(SpecRow):
    """A variation of one of the methods."""

    of: str
    """The label of the method that it varies."""


def rows(kind: str) -> BeforeValidator:
    """Reads a list of names and mappings, each of which chooses a ``kind``, such as a method."""

    def read(value: Any, info: ValidationInfo) -> tuple[SpecRow, ...]:
        return tuple(
            _row(kind, entry, where) for where, entry in _entries(value, info.field_name or kind)
        )

    return BeforeValidator(read)


def _ablations(value: Any, info: ValidationInfo) -> tuple[Ablation, ...]:
    return tuple(_ablation(entry, where) for where, entry in _entries(value, "ablations"))


ABLATIONS = BeforeValidator(_ablations)
"""Reads a list of mappings, each with ``of`` and the settings to change."""


def check_settings(settings: Mapping[str, Any], where: tuple[str, ...]) -> None:
    """Refuse the run settings that a bench sets by itself.

    Raises:
        ConfigError: one of them is there.
    """
    for key, advice in OF_THE_SPEC.items():
        if key in settings:
            raise ConfigError(advice, (*where, key))


def _entries(value: Any, field: str) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"This should be a list, such as [one], not {quoted(value)}.", (field,))
    return [((field, str(index)), entry) for index, entry in enumerate(value)]


def _row(kind: str, entry: Any, where: tuple[str, ...]) -> SpecRow:
    if isinstance(entry, SpecRow):
        return entry
    if isinstance(entry, str):
        entry = {kind: entry}
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{quoted(entry)} is neither the name of a {kind} nor settings.", where)
    label, settings = _take_label(entry, where)
    if kind not in settings:
        raise ConfigError(f"This entry chooses no {kind}: give it '{kind}: NAME'.", where)
    return SpecRow(label=label or _describe(settings, kind), settings=settings)


def _ablation(entry: Any, where: tuple[str, ...]) -> Ablation:
    if isinstance(entry, Ablation):
        return entry
    if not isinstance(entry, Mapping) or "of" not in entry:
        raise ConfigError("An ablation needs 'of: METHOD' and the settings it changes.", where)
    of = str(entry["of"])
    label, settings = _take_label({k: v for k, v in entry.items() if k != "of"}, where)
    if not settings:
        raise ConfigError(f"This ablation changes nothing of '{of}'.", where)
    return Ablation(
        label=label or f"{of} ({_changes(settings, 'method')})", of=of, settings=settings
    )


def _take_label(entry: Mapping[str, Any], where: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    given = entry.get("label", "")
    if not isinstance(given, str | int | float):
        raise ConfigError(f"A label is text, not {quoted(given)}.", (*where, "label"))
    label = " ".join(str(given).split())
    if not label.isprintable():
        raise ConfigError("A label must be printable text.", (*where, "label"))
    settings = nested({key: value for key, value in entry.items() if key != "label"})
    check_settings(settings, where)
    return label, settings


def _describe(settings: Mapping[str, Any], kind: str) -> str:
    """The name of what is chosen, and in parentheses what is set besides."""
    chosen = settings[kind]
    changes = _changes(settings, kind)
    if isinstance(chosen, Mapping):
        name = str(chosen.get("name", kind))
    elif isinstance(chosen, list):
        name = "+".join(
            str(one.get("name")) if isinstance(one, Mapping) else str(one) for one in chosen
        )
    else:
        name = str(chosen)
    return f"{name} ({changes})" if changes else name


def _changes(settings: Mapping[str, Any], kind: str) -> str:
    """``key=value`` of every setting but the name of the ``kind``, whose own keys come bare."""
    flat = dict(flatten(settings))
    own = {key.removeprefix(f"{kind}."): value for key, value in flat.items()}
    return ", ".join(
        f"{key}={short(value)}" for key, value in own.items() if key not in (kind, "name")
    )
