"""The command line: its commands, and what becomes of errors."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.text import Text

from kdzoo import __version__
from kdzoo.cli import streams
from kdzoo.cli.commands import machine, parts, results, students, training
from kdzoo.cli.processes import is_first_to_fail
from kdzoo.console import check_output, colourless, prepare_streams
from kdzoo.errors import UserError, explain_system

# Threads that spin while they wait stall each other as soon as another program wants a core: on two
# busy cores a run took ten times as long. Read by OpenMP when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

app = typer.Typer(
    name="kdzoo",
    help="Train networks that teach each other, and deploy one of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        streams.out.print(f"kdzoo {__version__}", highlight=False)
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


# In the order of the help.
COMMANDS: dict[str, Callable[..., None]] = {
    "run": training.run,
    "profile": training.profile,
    "config": training.config,
    "eval": students.evaluate,
    "predict": students.predict,
    "list": parts.list_names,
    "show": parts.show,
    "export": students.export,
    "new": parts.new,
    "bench": results.bench,
    "runs": results.runs,
    "curves": results.curves,
    "verify": results.verify,
    "report": results.report,
    "doctor": machine.doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


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
            streams.err.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
        sys.exit(error.exit_code)
    except Exception:
        if is_first_to_fail():
            raise
        sys.exit(1)  # it lost the process that has said why
