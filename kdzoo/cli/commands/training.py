"""Commands that train."""

import sys

import typer

from kdzoo.cli import streams
from kdzoo.cli.arguments import AsJson, Settings
from kdzoo.cli.processes import RANK
from kdzoo.console import print_line


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
        folder = train(config, choose_display(streams.aside(as_json)))
    except KeyboardInterrupt as stop:
        step = stop.step if isinstance(stop, Stopped) else None
        place = "from its last checkpoint" if step is None else f"after step {step}"
        if RANK == 0:
            streams.err.print(f"Stopped. The same command goes on {place}.")
        raise typer.Exit(stop.exit_code if isinstance(stop, Stopped) else 130) from None
    result = folder.read_result()
    if as_json:
        print_json({"folder": str(folder.path), **result}, streams.out)
        return
    streams.out.print(result_table(result))
    streams.out.print(best_epoch(result))
    print_line(streams.out, f"The student is in {folder.path}")


def profile(settings: Settings = None, as_json: AsJson = False) -> None:
    """Show where a step's time and memory go, and leave a trace. More keys: steps and warmup."""
    from kdzoo.cli.profile import profile_command

    profile_command(settings or [], as_json, streams.out, streams.aside(as_json))


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
