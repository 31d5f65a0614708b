"""``kdzoo show``: a page about one of the things that there are to choose from, or a recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python
from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from kdzoo import registry
from kdzoo.cli.json_output import print_json
from kdzoo.component import ComponentConfig, Config
from kdzoo.compose import find_recipe, read_yaml


@dataclass(frozen=True)
class Setting:
    """A setting of it: the key as it is typed, its default, and what it means."""

    key: str
    default: Any
    what: str


@dataclass(frozen=True)
class Page:
    """What there is to know about one of a kind.

    Attributes:
        kind: what it is, e.g. ``method``.
        name: as it is typed.
        about: what it does, in Markdown.
        paper: its source; empty where there is none.
        settings: its own.
        run_defaults: the defaults of a run that a data set changes.
    """

    kind: str
    name: str
    about: str
    paper: str
    settings: tuple[Setting, ...]
    run_defaults: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "about": self.about,
            "paper": self.paper,
            "settings": [
                {"key": one.key, "default": _plain(one.default), "what": one.what}
                for one in self.settings
            ],
            "run_defaults": self.run_defaults,
        }

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [Text(self.name, style="bold"), Markdown(self.about)]
        if self.paper:
            parts.append(Text.assemble(("\nSource", "bold"), f"  {self.paper}"))
        parts += ["", _settings_table(self.settings)]
        if self.run_defaults:
            settings = ", ".join(f"{key}={value}" for key, value in self.run_defaults.items())
            parts.append(Text.assemble(("\nRun defaults", "bold"), f"  {settings}"))
        return Group(*parts)


def show_thing(kind: str, name: str, as_json: bool, out: Console) -> None:
    """Print the page of one of a kind.

    Raises:
        UserError: there is no such name.
    """
    page = find_page(kind, name)
    if as_json:
        print_json(page.to_json(), out)
    else:
        out.print(page)


def show_backbone(
    name: str, size: int | None, classes: int, peers: int, as_json: bool, out: Console
) -> None:
    """Print a backbone's stages, and what its branches cost.

    Raises:
        UserError: there is no such backbone, or it does not run at this size.
    """
    from kdzoo.cli.backbone_page import backbone_json, backbone_page, describe_backbone

    about = describe_backbone(name, size, classes)
    if as_json:
        print_json(backbone_json(about, peers), out)
    else:
        out.print(backbone_page(about, peers))


def show_recipe(name: str, as_json: bool, out: Console) -> None:
    """Print a recipe as it stands in its file, or its settings.

    Raises:
        UserError: there is no such recipe.
    """
    recipe = find_recipe(name)
    if as_json:
        print_json({"kind": "recipe", "name": name, "settings": read_yaml(recipe)}, out)
    else:
        out.print(Text(recipe.read_text(encoding="utf-8")))


def find_page(kind: str, name: str) -> Page:
    """What one of a kind does, its settings with their defaults, and its source.

    Raises:
        UserError: there is no such name.
    """
    if kind in ("optimizer", "schedule"):
        config, about, paper = _curve_or_optimizer(kind, name)
    else:
        listed = registry.ALL[f"{kind}s"]
        definition = listed.about(name)
        config, about, paper = listed.get_config(name), definition.docstring, definition.paper
    recipe = registry.datasets.get(name).recipe if kind == "dataset" else {}
    return Page(kind, name, about, paper, tuple(_settings(kind, config)), dict(recipe))


def _curve_or_optimizer(kind: str, name: str) -> tuple[type[BaseModel], str, str]:
    """Settings, docstring and source of what a run's config has a setting for."""
    if kind == "schedule":
        from kdzoo.optim.schedule import schedule_config

        curve = schedule_config(name)
        return curve, curve.__doc__ or "", ""
    from kdzoo.optim.optimizer import optimizer_config

    config = optimizer_config(name)  # which refuses what timm may not have
    from timm.optim import get_optimizer_info

    return config, get_optimizer_info(name).description, ""


def _settings_table(settings: tuple[Setting, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("default")
    table.add_column("what it means")
    for one in settings:
        default = "" if one.default is PydanticUndefined else _readable(one.default)
        table.add_row(one.key, default, one.what)
    return table


def _settings(prefix: str, config: type[BaseModel]) -> Iterator[Setting]:
    """Every setting, those of nested groups one by one."""
    for name, field in config.model_fields.items():
        if name == "name":
            continue
        if isinstance(field.default, Config) and not isinstance(field.default, ComponentConfig):
            yield from _settings(f"{prefix}.{name}", type(field.default))
            continue
        what = " ".join((field.description or "").split())
        yield Setting(f"{prefix}.{name}", field.default, what)


def _plain(default: Any) -> Any:
    """As JSON has it; null where a setting has no default."""
    return None if default is PydanticUndefined else to_jsonable_python(default)


def _readable(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{key}={_readable(entry)}" for key, entry in value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_readable, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
