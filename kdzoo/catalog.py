"""What there is to choose from, as tables and pages for the terminal."""

import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from kdzoo import registry
from kdzoo.component import ComponentConfig, Config
from kdzoo.compose import find_recipe, read_yaml, recipe_names

REGISTRIES = {
    "methods": registry.methods,
    "backbones": registry.backbones,
    "datasets": registry.datasets,
    "aggregators": registry.aggregators,
    "regularizers": registry.regularizers,
}


def list_table(kind: str) -> RenderableType:
    """Every name of a kind with one line about it; plugins that fail to import come last."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(kind, no_wrap=True)
    table.add_column("what it is")
    if kind == "recipes":
        for name in recipe_names():
            table.add_row(name, ", ".join(read_yaml(find_recipe(name))))
        return table
    entries = REGISTRIES[kind]
    broken = entries.broken()
    for name in entries.names():
        if name not in broken:
            origin = entries.origin(name)
            note = "" if origin == "kdzoo" else f" [dim]({origin})[/]"
            table.add_row(name, escape(_first_line(entries.get(name))) + note)
    lines = [f"[yellow]warning:[/] {escape(message)}" for message in broken.values()]
    return Group(table, *lines)


def show_page(thing: str, name: str) -> RenderableType:
    """What one entry does, its settings with their defaults, and its source.

    Raises:
        UserError: there is no such entry.
    """
    if thing == "recipe":
        return escape(find_recipe(name).read_text(encoding="utf-8"))
    entry = REGISTRIES[f"{thing}s"].get(name)
    parts: list[RenderableType] = [f"[bold]{name}[/]", Markdown(inspect.getdoc(entry) or "")]
    if getattr(entry, "paper", ""):
        parts.append(f"\n[bold]Source[/]  {escape(entry.paper)}")
    if hasattr(entry, "Config"):
        parts += ["", _fields_table(thing, entry.Config)]
    if getattr(entry, "recipe", None):
        settings = ", ".join(f"{key}={value}" for key, value in entry.recipe.items())
        parts.append(f"\n[bold]Run defaults[/]  {escape(settings)}")
    return Group(*parts)


def _fields_table(prefix: str, config: type[BaseModel]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("default")
    table.add_column("what it means")
    for row in _fields(prefix, config):
        table.add_row(*map(escape, row))
    return table


def _fields(prefix: str, config: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of every setting, those of nested groups one by one."""
    for name, field in config.model_fields.items():
        if name == "name":
            continue
        if isinstance(field.default, Config) and not isinstance(field.default, ComponentConfig):
            yield from _fields(f"{prefix}.{name}", type(field.default))
            continue
        default = "" if field.default is PydanticUndefined else _readable(field.default)
        yield f"{prefix}.{name}", default, " ".join((field.description or "").split())


def _readable(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{key}={_readable(entry)}" for key, entry in value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_readable, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _first_line(entry: Any) -> str:
    return (inspect.getdoc(entry) or "").split("\n", 1)[0]
