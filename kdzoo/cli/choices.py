"""``kdzoo list`` and ``kdzoo show``: what there is to choose from, and a page about one of them."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from kdzoo import registry
from kdzoo.component import ComponentConfig, Config
from kdzoo.compose import find_recipe, read_yaml, recipe_names


def list_table(kinds: str) -> RenderableType:
    """Every name of a kind with one line about it; plugins that fail to import come last.

    Args:
        kinds: a key of ``registry.ALL``, or ``"recipes"``.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(kinds, no_wrap=True)
    table.add_column("what it is")
    if kinds == "recipes":
        for name in recipe_names():
            table.add_row(name, ", ".join(read_yaml(find_recipe(name))))
        return table
    listed = registry.ALL[kinds]
    broken = listed.broken()
    for name in listed.names():
        if name not in broken:
            origin = listed.origin(name)
            note = "" if origin == "kdzoo" else f" ({origin})"
            first_line = listed.about(name).docstring.partition("\n")[0]
            table.add_row(name, Text.assemble(first_line, (note, "dim")))
    warnings = [Text.assemble(("warning:", "yellow"), f" {message}") for message in broken.values()]
    return Group(table, *warnings)


def show_page(kind: str, name: str) -> RenderableType:
    """What one of a kind does, its settings with their defaults, and its source.

    Raises:
        UserError: there is no such name.
    """
    if kind == "recipe":
        return Text(find_recipe(name).read_text(encoding="utf-8"))
    listed = registry.ALL[f"{kind}s"]
    about = listed.about(name)
    parts: list[RenderableType] = [Text(name, style="bold"), Markdown(about.docstring)]
    if about.paper:
        parts.append(Text.assemble(("\nSource", "bold"), f"  {about.paper}"))
    parts += ["", _fields_table(kind, listed.get_config(name))]
    recipe = registry.datasets.get(name).recipe if kind == "dataset" else {}
    if recipe:
        settings = ", ".join(f"{key}={value}" for key, value in recipe.items())
        parts.append(Text.assemble(("\nRun defaults", "bold"), f"  {settings}"))
    return Group(*parts)


def _fields_table(prefix: str, config: type[BaseModel]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("default")
    table.add_column("what it means")
    for row in _fields(prefix, config):
        table.add_row(*row)
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
