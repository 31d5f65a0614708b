"""The command line. Commands import what they need when they run, so that help comes at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.text import Text

from kdzoo import __version__
from kdzoo.cli import completion
from kdzoo.cli.processes import RANK, is_first_to_fail
from kdzoo.cli.words import (
    FORMATS,
    KINDS,
    LISTS,
    PARTS,
    SPLITS,
    kind_to_show,
    listed,
    one_of,
    path,
)
from kdzoo.console import (
    check_output,
    colourless,
    make_console,
    prepare_streams,
    print_line,
    print_wrapped,
)
from kdzoo.errors import UserError, cause, explain_system
from kdzoo.home import expand_user

if TYPE_CHECKING:
    from kdzoo.data.dataset import Measured

# Threads that spin while they wait stall each other as soon as another program wants a core: on two
# busy cores a run took ten times as long. Read by OpenMP when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Of a distributed run, the first process speaks; of what went wrong, whichever meets it first.
out = make_console(quiet=RANK != 0)
err = make_console(stderr=True)
# What is said beside the JSON that alone goes to stdout.
beside_json = make_console(stderr=True, quiet=RANK != 0)
app = typer.Typer(
    name="kdzoo",
    help="Train networks that teach each other, and deploy one of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE | KEY=VALUE]...",
        help="Recipes (files or bundled names) and overrides, e.g. method=mbde lr=0.05.",
        show_default=False,
        autocompletion=completion.settings,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import the code that the run's student names, if it does."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        parser=path,
        help="The folder of a finished run.",
        autocompletion=completion.run_folders,
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"kdzoo {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def run(settings: Settings = None, as_json: AsJson = False) -> None:
    """Train peers, and leave a student to deploy."""
    from kdzoo.cli.json_output import print_json
    from kdzoo.cli.result_table import best_epoch, result_table
    from kdzoo.compose import compose

    config = compose(settings or [])  # a mistake in it is not to wait for torch
    from kdzoo.training.display import choose_display
    from kdzoo.training.preemption import Stopped
    from kdzoo.training.run import train

    try:
        folder = train(config, choose_display(beside_json if as_json else out))
    except KeyboardInterrupt as stop:
        step = stop.step if isinstance(stop, Stopped) else None
        place = "from its last checkpoint" if step is None else f"after step {step}"
        if RANK == 0:
            err.print(f"Stopped. The same command goes on {place}.")
        raise typer.Exit(stop.exit_code if isinstance(stop, Stopped) else 130) from None
    result = folder.read_result()
    if as_json:
        print_json({"folder": str(folder.path), **result}, out)
        return
    out.print(result_table(result))
    out.print(best_epoch(result))
    print_line(out, f"The student is in {folder.path}")


@app.command()
def profile(settings: Settings = None, as_json: AsJson = False) -> None:
    """Show where a step's time and memory go, and leave a trace. More keys: steps and warmup."""
    from kdzoo.cli.profile import profile_command

    profile_command(settings or [], as_json, out, beside_json if as_json else out)


@app.command()
def config(settings: Settings = None) -> None:
    """Print the config that a run would have; run nothing."""
    from kdzoo.compose import compose, to_yaml

    composed = compose(settings or [])
    text = to_yaml(composed)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = to_yaml(composed, unicode=False)
    sys.stdout.write(text)


@app.command("eval")
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
    eval_command(runs, overrides, measured, trust, whole, to, as_json, out, err)


@app.command()
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
    raise typer.Exit(predict_command(run, images, top, form, device, trust, out, err))


@app.command("list")
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
        print_json(list_json(listed), out)
    else:
        out.print(list_table(kind, listed))


@app.command()
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
        show_backbone(name, size, classes, peers, as_json, out)
    elif thing == "recipe":
        show_recipe(name, as_json, out)
    else:
        show_thing(thing, name, as_json, out)


@app.command()
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

        export_for_timm(run, to, push, out)
        return
    if push is not None:
        raise UserError(f"--push sends what --format timm writes, and not {form}.")
    from kdzoo.export import describe_input, export_run
    from kdzoo.student import find_student, read_student_info

    written = export_run(run, form, to, trust, with_preprocessing)
    print_line(out, f"The student is in {written}")
    info = read_student_info(find_student(run))
    for line in describe_input(info, with_preprocessing):
        print_wrapped(out, line)


@app.command()
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
    print_line(out, f"Wrote {written}; its README.md says what to do next.")


SpecSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Changes to the spec, e.g. jobs=2 seeds=[0] run.epochs=5 launcher=ray.",
        show_default=False,
    ),
]


@app.command()
def bench(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A YAML file: benchmarks/*.yaml.")],
    settings: SpecSettings = None,
    as_json: AsJson = False,
) -> None:
    """Train every method, backbone, data set and seed of a spec, and compare them."""
    from kdzoo.cli.bench import bench_command

    aside = beside_json if as_json else out
    raise typer.Exit(bench_command(spec, settings or [], as_json, out, aside, err))


@app.command()
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
    print_runs(list_runs(folder, filters, sort), folder, out, as_json)


@app.command()
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

    curves_command(run, to, as_json, out, beside_json if as_json else out)


@app.command()
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
    from kdzoo.verify import find_run
    from kdzoo.verify import verify as train_again

    kept, row = find_run(results, dataset, backbone, method, seed)
    display = choose_display(beside_json if as_json else out)
    found = train_again(kept, row, settings or [], display)
    if as_json:
        print_json(verification_json(found), out)
    else:
        print_verification(found, out)
    raise typer.Exit(0 if found.agrees else 1)


@app.command()
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

    report_command(target, settings or [], to, as_json, out, beside_json if as_json else out)


@app.command()
def doctor(
    folder: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The folder that runs would go to.")
    ] = "runs",
    as_json: AsJson = False,
) -> None:
    """Look for what stands in the way of runs here, and say how to mend it. Exits with 1 then."""
    try:
        from kdzoo.cli.doctor import print_findings
        from kdzoo.doctor import examine
    except Exception as error:  # a compiled library that does not fit fails in many ways
        raise UserError(
            f"torch, or a library beside it, cannot be imported: {type(error).__name__}: "
            f"{cause(error)}. pip install -U torch torchvision timm accelerate brings versions "
            "that fit together."
        ) from error

    findings = examine(folder)
    print_findings(findings, out, as_json)
    raise typer.Exit(int(any(one.state == "problem" for one in findings)))


def main() -> None:
    """Run the command line; a person's mistake is one message and the error's exit code."""
    prepare_streams()
    if colourless():
        from typer import rich_utils  # help and the errors of its own

        rich_utils.COLOR_SYSTEM = None
    try:
        try:
            app(prog_name="kdzoo")  # python -m kdzoo is the same command
        except SystemExit as end:
            if not end.code:
                check_output()
            raise
        except OSError as error:  # a name that is too long, a folder that is not for this user, ...
            explained = explain_system(error)
            if explained is None:
                raise
            raise explained from error
    except UserError as error:
        if is_first_to_fail():
            err.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
        sys.exit(error.exit_code)
    except Exception:
        if is_first_to_fail():
            raise
        sys.exit(1)  # it lost the process that has said why
