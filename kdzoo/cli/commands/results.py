"""Commands that compare runs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kdzoo.cli import completion, streams
from kdzoo.cli.arguments import AsJson, SpecSettings
from kdzoo.cli.words import path
from kdzoo.errors import UserError
from kdzoo.home import expand_user


def bench(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A YAML file: benchmarks/*.yaml.")],
    settings: SpecSettings = None,
    as_json: AsJson = False,
) -> None:
    """Train every method, backbone, data set and seed of a spec, and compare them."""
    from kdzoo.cli.bench import bench_command

    aside = streams.aside(as_json)
    raise typer.Exit(bench_command(spec, settings or [], as_json, streams.out, aside, streams.err))


def runs(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER] [KEY=VALUE]...",
            help="Where to look, by default in runs, and which runs: method=mbde seed=0.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="student, seconds, epoch, state, seed, ...")
    ] = "folder",
    as_json: AsJson = False,
) -> None:
    """List the runs on disk, finished or not, with their figures."""
    from kdzoo.cli.runs import print_runs
    from kdzoo.report.listing import list_runs

    given = arguments or []
    folders = [one for one in given if "=" not in one or os.path.exists(one)]
    if len(folders) > 1:
        raise UserError(f"Name one folder, not {len(folders)}: {', '.join(folders)}.")
    folder = expand_user(folders[0] if folders else "runs")
    filters = [one for one in given if one not in folders]
    print_runs(list_runs(folder, filters, sort), folder, streams.out, as_json)


def curves(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            parser=path,
            help="The folder of a run, finished or not.",
            autocompletion=completion.run_folders,
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path, help="Write a picture: .svg or .png."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run has learnt, epoch by epoch: its learning curves."""
    from kdzoo.cli.curves import curves_command

    curves_command(run, to, as_json, streams.out, streams.aside(as_json))


def verify(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS",
            parser=path,
            help="A results.json, the folder of a report, or that of a finished run.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Where and how: dataset.root=photos device=cpu out=DIR.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[str | None, typer.Option(help="The method's label in the table.")] = None,
    seed: Annotated[int | None, typer.Option(help="The run's seed.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The backbone's label.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The data set's label.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train one run of a published table again, and compare. Exits with 1 if they differ."""
    from kdzoo.cli.json_output import print_json
    from kdzoo.cli.verify import print_verification, verification_json
    from kdzoo.training.display import choose_display
    from kdzoo.verify.published import find_run
    from kdzoo.verify.repeat import repeat

    kept, row = find_run(results, dataset, backbone, method, seed)
    display = choose_display(streams.aside(as_json))
    found = repeat(kept, row, settings or [], display)
    if as_json:
        print_json(verification_json(found), streams.out)
    else:
        print_verification(found, streams.out)
    raise typer.Exit(0 if found.agrees else 1)


def report(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC|FOLDER|RESULTS",
            help="A spec, a folder with runs in it, or a results.json or the folder of a report.",
        ),
    ],
    settings: SpecSettings = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=path,
            help="Where the files go; by default report, or report-SPEC, by the runs, or beside "
            "results.json.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make tables, plots and a web page of finished runs; train nothing."""
    from kdzoo.cli.bench import report_command

    report_command(
        target,
        settings or [],
        to,
        as_json,
        streams.out,
        streams.aside(as_json),
    )
