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
from kdzoo.backbones.create import BackboneConfig, make_backbone, usual_input_size
from kdzoo.component import ComponentConfig, Config
from kdzoo.compose import find_recipe, read_yaml, recipe_names
from kdzoo.peers.cost import Cost
from kdzoo.peers.describe import describe

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


def backbone_page(name: str, size: int | None, classes: int, peers: int) -> RenderableType:
    """What to know before a backbone is split.

    Args:
        name: as for ``backbone=``.
        size: side of the square images, in pixels; None for what the network is made for.
        classes: K.
        peers: P, how many branches the last column counts.

    Raises:
        UserError: there is no such backbone, or it does not run at this size.
    """
    config = BackboneConfig(name=name)
    input_size = (3, size, size) if size else usual_input_size(config)
    about = describe(make_backbone(config, classes, input_size))
    shape = "x".join(map(str, about.input_size))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "stage", "output"):
        table.add_column(heading)
    for heading in ("shared", "each branch", f"with {peers} branches"):
        table.add_column(heading, justify="right")
    for stage in about.stages:
        is_last = stage is about.stages[-1]
        table.add_row(
            str(stage.number),
            escape(stage.name) + (" [green]<- here[/]" if stage.name == about.cut else ""),
            "x".join(map(str, stage.shape)),
            _cost(stage.before),
            _cost(stage.after),
            "" if is_last else _cost(stage.branched(peers)),
        )
    lines: list[RenderableType] = [
        f"[bold]{escape(about.name)}[/]  {shape} images, {about.num_classes} classes",
        f"{_short(about.total.parameters)} parameters, {_short(about.total.multiply_adds)} "
        f"multiply-adds; classifier [bold]{escape(about.classifier)}[/] on {about.embedding} "
        "channels",
        "",
        table,
        "",
        "[dim]Parameters / multiply-adds for one image, if branches begin after that stage: "
        "backbone.split_at takes its name, its number or a fraction.[/]",
    ]
    if about.problem:
        lines.append(f"[yellow]{escape(about.problem)}[/]")
    return Group(*lines)


def _cost(cost: Cost) -> str:
    return f"{_short(cost.parameters)} / {_short(cost.multiply_adds)}"


def _short(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def result_table(result: dict[str, Any]) -> Table:
    """Student, ensemble and mean peer at the last epoch."""
    last = result["last"]
    table = Table(
        title=f"{result['method']} · {result['backbone']} · {result['dataset']} · "
        f"seed {result['seed']}",
        title_justify="left",
    )
    table.add_column(f"{last['split']}, last epoch")
    for heading in ("top-1 %", "top-5 %", "nll", "ece %"):
        table.add_column(heading, justify="right")
    for name in ("student", "ensemble"):
        if name in last:
            table.add_row(name, *_score(last[name]))
    if len(last["peers"]) > 1:
        mean = {
            key: sum(peer[key] for peer in last["peers"]) / len(last["peers"])
            for key in ("top1", "top5", "nll")
        }
        table.add_row("mean peer", *_score(mean))
    return table


def best_epoch(result: dict[str, Any]) -> str:
    """One line about the best epoch, which is not the result."""
    best = result["best"]
    return (
        f"Best {best['split']} epoch: {best['epoch']} of {result['epochs']}, student "
        f"{best['student']['top1']:.2f} %. Training took {result['seconds']:.0f} s."
    )


def _score(figures: dict[str, float]) -> list[str]:
    return [
        f"{figures['top1']:.2f}",
        f"{figures['top5']:.2f}",
        f"{figures['nll']:.4f}",
        f"{figures['ece']:.2f}" if "ece" in figures else "",
    ]
