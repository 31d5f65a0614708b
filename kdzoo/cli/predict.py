"""``kdzoo predict``: what images show, as a table, as CSV or as JSON."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdzoo.cli.json_output import print_json
from kdzoo.console import print_line
from kdzoo.data.cores import available_cores
from kdzoo.data.find_images import find_images, image_files
from kdzoo.data.reader import with_progress
from kdzoo.errors import in_line
from kdzoo.predict import load_predictor
from kdzoo.report.labels import plain


@dataclass
class Found:
    """What was found out about images.

    Attributes:
        top: of each image that could be read, its path and its most probable classes.
        unreadable: of each other one, its path and the reason.
    """

    top: list[tuple[str, list[tuple[str, float]]]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def predict_command(
    run: Path,
    images: Sequence[Path],
    top: int,
    show: Callable[[Found, Console], None],
    device: str,
    trust: bool,
    out: Console,
    err: Console,
) -> int:
    """Predict images and show what is found; the exit code is 1 where some cannot be read."""
    paths, notes = find_images(images)
    predictor = load_predictor(run, device=device, trust=trust)
    found = Found()
    files = image_files(paths, predictor.info.pixel_range)
    batches = predictor.batches(files, workers=available_cores())
    for batch in with_progress(batches, "Predicting", ceil(len(paths) / predictor.batch_size)):
        best = batch.predictions.top(top)
        found.top += [(paths[at], one) for at, one in zip(batch.positions, best, strict=True)]
        found.unreadable += [(paths[at], str(error)) for at, error in batch.errors.items()]
    show(found, out)
    for line in (*notes, *(reason for _, reason in found.unreadable)):
        print_line(err, line)
    if not found.unreadable:
        return 0
    err.print(f"{len(found.unreadable)} of {len(paths)} images could not be read.")
    return 1


def _show_table(found: Found, out: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("%", justify="right", no_wrap=True)
    for path, best in found.top:
        for rank, (name, probability) in enumerate(best):
            shown = Text(in_line(path)) if rank == 0 else ""
            table.add_row(shown, Text(plain(name)), f"{100 * probability:.2f}")
    if found.top:
        out.print(table)


def _show_csv(found: Found, out: Console) -> None:
    # every name is in quotes: with LF at the ends of lines, a CR in a name would else end one too
    writer = csv.writer(out.file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    ranks = range(1, 1 + max((len(best) for _, best in found.top), default=1))
    writer.writerow(["image", *(f"{what}_{rank}" for rank in ranks for what in COLUMNS)])
    for path, best in found.top:
        writer.writerow([path, *(value for one in best for value in one)])


def _show_json(found: Found, out: Console) -> None:
    images = [
        {"image": path, "top": [dict(zip(COLUMNS, one, strict=True)) for one in best]}
        for path, best in found.top
    ]
    unreadable = [{"image": path, "reason": reason} for path, reason in found.unreadable]
    print_json({"images": images, "unreadable": unreadable}, out)


COLUMNS = ("class", "probability")
FORMS = {"table": _show_table, "csv": _show_csv, "json": _show_json}
"""The ways to show what was found."""
