"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from kdzoo.cli import completion
from kdzoo.cli.words import path

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE | KEY=VALUE]...",
        help="Recipes (files or bundled names) and overrides, e.g. method=mbde lr=0.05.",
        show_default=False,
        autocompletion=completion.settings,
    ),
]
SpecSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Changes to the spec, e.g. jobs=2 seeds=[0] run.epochs=5 launcher=ray.",
        show_default=False,
    ),
]
RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        parser=path,
        help="The folder of a finished run.",
        autocompletion=completion.run_folders,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import the code that the run's student names, if it does."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
