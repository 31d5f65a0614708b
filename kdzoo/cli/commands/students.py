"""Commands that take the student of a finished run."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from kdzoo.cli import completion, streams
from kdzoo.cli.arguments import AsJson, RunPath, Trust
from kdzoo.cli.words import FORMATS, SPLITS, listed, one_of, path
from kdzoo.console import print_line, print_wrapped
from kdzoo.errors import UserError
from kdzoo.home import expand_user

if TYPE_CHECKING:
    from kdzoo.data.dataset import Measured


def evaluate(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [KEY=VALUE]...",
            help="Folders of finished runs, and other data: dataset.root=photos dataset=NAME.",
            autocompletion=completion.runs_and_settings,
        ),
    ],
    split: Annotated[
        str,
        typer.Option(
            metavar="SPLIT",
            parser=one_of(SPLITS),
            autocompletion=completion.one_of_these(SPLITS),
            help=f"{listed(SPLITS)}; all is every image, as for a folder of test images alone.",
        ),
    ] = "test",
    whole: Annotated[
        bool, typer.Option("--all", help="Show every class, every pair confused and every bin.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=path,
            help="Write all of it there, as JSON, CSV and pictures.",
        ),
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Rebuild the students of runs and measure them, on their own test set or on other data."""
    from kdzoo.cli.evaluate import eval_command

    runs = [expand_user(one) for one in arguments if "=" not in one or os.path.exists(one)]
    overrides = [one for one in arguments if "=" in one and not os.path.exists(one)]
    measured = cast("Measured", split)
    eval_command(runs, overrides, measured, trust, whole, to, as_json, streams.out, streams.err)


def predict(
    run: RunPath,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE|FOLDER...", parser=path, help="Images, and folders of them."),
    ],
    top: Annotated[
        int, typer.Option(min=1, metavar="K", help="Give the K most probable classes of each.")
    ] = 1,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
    device: Annotated[str, typer.Option(help="Where to compute, as in a run.")] = "auto",
    trust: Trust = False,
) -> None:
    """Say what images show. Exits with 1 if some of them cannot be read, which are named."""
    from kdzoo.cli.predict import FORMS, predict_command

    if as_csv and as_json:
        raise UserError("--csv and --json are two forms of the same output. Leave one out.")
    form = FORMS["csv" if as_csv else "json" if as_json else "table"]
    raise typer.Exit(
        predict_command(run, images, top, form, device, trust, streams.out, streams.err)
    )


def export(
    run: RunPath,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            parser=one_of(FORMATS),
            autocompletion=completion.one_of_these(FORMATS),
            help=f"{listed(FORMATS)}; pt2 is a torch.export program, timm a folder for its "
            "create_model.",
        ),
    ] = "safetensors",
    to: Annotated[
        Path | None,
        typer.Option(metavar="PATH", parser=path, help="The file, or folder, to write."),
    ] = None,
    trust: Trust = False,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing", help="Let it take bytes: scaling, mean and std go in as well."
        ),
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(metavar="USER/NAME", help="Send the timm folder to the Hugging Face hub."),
    ] = None,
) -> None:
    """Write a run's student for deployment, and say what it takes and gives."""
    if form == "timm":
        if with_preprocessing:
            raise UserError("--with-preprocessing goes with --format onnx or pt2, and not timm.")
        from kdzoo.cli.export import export_for_timm

        export_for_timm(run, to, push, streams.out)
        return
    if push is not None:
        raise UserError(f"--push sends what --format timm writes, and not {form}.")
    from kdzoo.export import describe_input, export_run
    from kdzoo.student import find_student, read_student_info

    written = export_run(run, form, to, trust, with_preprocessing)
    print_line(streams.out, f"The student is in {written}")
    info = read_student_info(find_student(run))
    for line in describe_input(info, with_preprocessing):
        print_wrapped(streams.out, line)
