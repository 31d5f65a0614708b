"""``kdzoo show backbone``: a backbone's stages, and what its branches cost from each on."""

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.create import make_backbone, usual_input_size
from kdzoo.peers.cost import Cost
from kdzoo.peers.describe import BackboneDescription, describe


def describe_backbone(name: str, size: int | None, classes: int) -> BackboneDescription:
    """What to know before a backbone is split.

    Args:
        name: as for ``backbone=``.
        size: side of the square images, in pixels; None for what the network is made for.
        classes: K.

    Raises:
        UserError: there is no such backbone, or it does not run at this size.
    """
    config = BackboneConfig(name=name)
    input_size = (3, size, size) if size else usual_input_size(config)
    return describe(make_backbone(config, classes, input_size))


def backbone_json(about: BackboneDescription, peers: int) -> dict[str, Any]:
    """It as JSON can hold it, with the cost of so many branches after each stage but the last."""
    value = {"kind": "backbone", **asdict(about)}
    for shown, stage in zip(value["stages"], about.stages[:-1], strict=False):
        shown["branched"] = {"peers": peers, **asdict(stage.branched(peers))}
    return value


def backbone_page(about: BackboneDescription, peers: int) -> RenderableType:
    """It in the terminal; the last column counts so many branches."""
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
            Text.assemble(stage.name, (" <- here" if stage.name == about.cut else "", "green")),
            "x".join(map(str, stage.shape)),
            _cost(stage.before),
            _cost(stage.after),
            "" if is_last else _cost(stage.branched(peers)),
        )
    lines: list[RenderableType] = [
        Text.assemble((about.name, "bold"), f"  {shape} images, {about.num_classes} classes"),
        Text.assemble(
            f"{_short(about.total.parameters)} parameters, {_short(about.total.multiply_adds)} "
            "multiply-adds; classifier ",
            (about.classifier, "bold"),
            f" on {about.embedding} channels",
        ),
        "",
        table,
        "",
        Text(
            "Parameters / multiply-adds for one image, if branches begin after that stage: "
            "backbone.split_at takes its name, its number or a fraction.",
            style="dim",
        ),
    ]
    if about.problem:
        lines.append(Text(about.problem, style="yellow"))
    return Group(*lines)


def _cost(cost: Cost) -> str:
    return f"{_short(cost.parameters)} / {_short(cost.multiply_adds)}"


def _short(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
