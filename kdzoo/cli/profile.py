"""``kdzoo profile``: a table of a step's parts, and where the trace is."""

import os
from collections.abc import Iterator, Sequence
from shutil import rmtree

from rich.console import Console
from rich.table import Table

# Of the profiler's own log only errors, and it takes a machine without a GPU for one.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

from kdzoo.cli.json_output import print_json
from kdzoo.compose import compose
from kdzoo.console import print_line, print_wrapped
from kdzoo.files import write_json
from kdzoo.profile.config import ProfileConfig
from kdzoo.profile.place import new_place
from kdzoo.profile.profile import PartCost, Profile, profile
from kdzoo.training.display import Lines

MIB = 2**20


def profile_command(settings: Sequence[str], as_json: bool, out: Console, aside: Console) -> None:
    """Profile what the settings describe, print the table, and write it and the trace; what is
    said meanwhile goes to ``aside``.
    """
    config = compose(settings, config_class=ProfileConfig)
    assert isinstance(config, ProfileConfig)
    place = new_place(config)
    trace, table = place / "trace.json.gz", place / "profile.json"
    try:
        found = profile(config, trace, Lines(aside))
        written = {"config": config.model_dump(mode="json"), **found.to_json()}
        write_json(table, written)
    except BaseException:
        rmtree(place, ignore_errors=True)
        raise
    if as_json:
        print_json({**written, "table": str(table), "trace": str(trace)}, out)
        return
    out.print(_table(config, found))
    for line in _lines(found):
        print_wrapped(out, line)
    print_line(out, f"The table is in {table}")
    print_line(out, f"The trace is in {trace}: open it at https://ui.perfetto.dev")


def _table(config: ProfileConfig, found: Profile) -> Table:
    where = found.environment
    table = Table(
        title=f"{config.method.name} · {config.backbone_name} · {config.dataset.name} · batch "
        f"{config.batch_size} · {where['precision']} · {where['device']}",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("part", no_wrap=True)
    for heading in ("forward ms", "backward ms", "ms", "%", "params MiB", "saved MiB"):
        table.add_column(heading, justify="right")
    for part in found.parts:
        table.add_row(part.name, *_cells(part))
    forward = sum(part.forward_ms for part in found.parts)
    table.add_section()
    table.add_row(
        "step",
        f"{forward:.2f}",
        f"{found.in_parts_ms - forward:.2f}",
        f"{found.in_parts_ms:.2f}",
        "100.0",
        f"{found.memory.parameters / MIB:.2f}",
        f"{found.memory.saved / MIB:.2f}",
    )
    return table


def _cells(part: PartCost) -> Iterator[str]:
    for milliseconds in (part.forward_ms, part.backward_ms, part.total_ms):
        yield f"{milliseconds:.2f}" if milliseconds else ""
    yield f"{part.share:.1f}"
    for size in (part.parameters, part.saved):
        yield f"{size / MIB:.2f}" if size else ""


def _lines(found: Profile) -> Iterator[str]:
    more = 100 * (found.in_parts_ms / found.step_ms - 1)
    yield (
        f"A step takes {found.step_ms:.2f} ms, {found.images_per_second:,.0f} images/s; measured "
        f"in parts, as above, {found.in_parts_ms:.2f} ms ({more:+.1f} %). Means of the faster half "
        f"of {found.steps} steps each."
    )
    memory = found.memory
    yield (
        f"Memory: {memory.peak / MIB:,.0f} MiB at most, {memory.before / MIB:,.0f} before the "
        f"first step; in it parameters {memory.parameters / MIB:.1f}, gradients "
        f"{memory.gradients / MIB:.1f}, optimizer {memory.optimizer / MIB:.1f}, saved for the "
        f"backward pass {memory.saved / MIB:.1f}."
    )
