"""Commands that say what there is to choose from, and begin what is not there yet."""

from pathlib import Path
from typing import Annotated

import typer

from kdzoo.cli import completion, streams
from kdzoo.cli.arguments import AsJson
from kdzoo.cli.words import KINDS, LISTS, PARTS, kind_to_show, listed, one_of
from kdzoo.console import print_line


def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KINDS",
            parser=one_of(LISTS),
            help=f"{listed(LISTS)}.",
            autocompletion=completion.one_of_these(LISTS),
        ),
    ] = "methods",
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="Of their names, e.g. 'timm/*vit*'.")
    ] = "*",
    as_json: AsJson = False,
) -> None:
    """List what there is, ours and that of installed packages."""
    from kdzoo.cli.json_output import print_json
    from kdzoo.cli.lists import choices, list_json, list_table

    listed = choices(kind, pattern)
    if as_json:
        print_json(list_json(listed), streams.out)
    else:
        streams.out.print(list_table(kind, listed))


def show(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            parser=kind_to_show,
            help=f"{listed(KINDS)}.",
            autocompletion=completion.one_of_these(KINDS),
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(help="Its name, as kdzoo list prints it.", autocompletion=completion.names),
    ],
    size: Annotated[int | None, typer.Option(min=1, help="Backbones: pixels a side.")] = None,
    classes: Annotated[int, typer.Option(min=2, help="Backbones: number of classes.")] = 100,
    peers: Annotated[int, typer.Option(min=1, help="Backbones: branches to count.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Explain one method, backbone, data set or other choice, or print a recipe."""
    from kdzoo.cli.show import show_backbone, show_recipe, show_thing

    if thing == "backbone":
        show_backbone(name, size, classes, peers, as_json, streams.out)
    elif thing == "recipe":
        show_recipe(name, as_json, streams.out)
    else:
        show_thing(thing, name, as_json, streams.out)


def new(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            parser=one_of(PARTS),
            help=f"{listed(PARTS)}.",
            autocompletion=completion.one_of_these(PARTS),
        ),
    ],
    name: Annotated[str, typer.Argument(help="What it will be called.")],
) -> None:
    """Begin a plugin package with a method, a part of one or a data set of your own."""
    from kdzoo.scaffold import new_plugin

    written = new_plugin(thing, name, Path.cwd())
    print_line(streams.out, f"Wrote {written}; its README.md says what to do next.")
