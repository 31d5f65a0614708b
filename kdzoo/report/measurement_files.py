"""What a measurement leaves in a folder: figures as JSON and CSV, pictures as SVG and PNG."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdzoo.errors import UserError
from kdzoo.files import ANOTHER_TO, check_place, read_json, write_json, write_text
from kdzoo.report.labels import inert
from kdzoo.report.measurement_plots import calibration_plot, confusion_plot
from kdzoo.training.measurement import Measurement


def measurement_json(found: Measurement) -> dict[str, Any]:
    """All of it, for programs: the figures, every class, the pairs confused, and the bins."""
    return {
        **found.figures,
        "classes": [asdict(one) for one in found.by_class],
        "confusions": [asdict(one) for one in found.confusions],
        "calibration": [asdict(one) for one in found.calibration],
    }


def _is_measurement(file: Path) -> bool:
    try:
        written = read_json(file)
    except UserError:
        return False
    return isinstance(written, dict) and {"classes", "confusions", "calibration"} <= written.keys()


def write_measurement(found: Measurement, about: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``measurement.json``, ``classes.csv``, ``confusion.csv``, ``calibration.csv`` and the
    pictures ``confusion`` and ``calibration``, each as ``.svg`` and ``.png``.

    Args:
        found: what was found.
        about: the student and the data; it begins the JSON.
        folder: where the files go.

    Returns:
        the files. There is no picture of a confusion matrix of more than 2,000 classes.

    Raises:
        UserError: the folder cannot be written, or holds such files of something else.
    """
    texts = {
        "classes.csv": _csv(
            ["class", "images", "taken_for", "recall", "precision"],
            (
                [inert(one.name), one.images, one.taken_for, one.recall, one.precision]
                for one in found.by_class
            ),
        ),
        "confusion.csv": _csv(
            ["class", "taken_for", "images"],
            (
                [inert(found.classes[label]), inert(found.classes[guess]), images]
                for label, guess, images in found.pairs.tolist()
            ),
        ),
        "calibration.csv": _csv(
            ["from", "to", "images", "accuracy", "confidence"],
            (
                [one.low, one.high, one.images, one.accuracy, one.confidence]
                for one in found.calibration
            ),
        ),
    }
    files = [folder / "measurement.json"]
    check_place(folder, (files[0].name, *texts), lambda: _is_measurement(files[0]))
    write_json(files[0], {**about, **measurement_json(found)}, ANOTHER_TO)
    for name, text in texts.items():
        write_text(folder / name, text, ANOTHER_TO)
        files.append(folder / name)
    for drawing in (confusion_plot(found), calibration_plot(found)):
        if drawing is not None:
            for suffix in ("svg", "png"):
                files.append(folder / f"{drawing.key}.{suffix}")
                drawing.write(files[-1])
    return files


def _csv(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(headings)
    writer.writerows(rows)
    return buffer.getvalue()
