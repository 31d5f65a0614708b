"""What a run has reached, read from its files: the progress of one under way, and its end."""

import json
import math
from typing import Any, NamedTuple

from kdzoo.errors import UserError
from kdzoo.files import read_bytes
from kdzoo.training.result import EpochRecord
from kdzoo.training.run_folder import RunFolder


class Progress(NamedTuple):
    """What a run has reached.

    Attributes:
        epochs: finished ones; 0 where the files cannot be read, too.
        student: its latest accuracy, in percent; None before the first evaluation.
        seconds: what the finished epochs took.
    """

    epochs: int = 0
    student: float | None = None
    seconds: float = 0.0


def read_progress(folder: RunFolder) -> Progress:
    """Read from a finished run's result, and from the metrics of another."""
    try:
        return _finished(folder) if folder.is_finished else _under_way(folder)
    except (UserError, OSError, ValueError, LookupError, TypeError):
        return Progress()


def read_epochs_so_far(folder: RunFolder) -> list[EpochRecord]:
    """The figures of every epoch of a run under way; none where they cannot be read yet."""
    try:
        return folder.read_epochs()
    except (UserError, OSError):
        return []


def _finished(folder: RunFolder) -> Progress:
    result = folder.read_result()
    student = _number(result["last"]["student"]["top1"])
    return Progress(int(result["epochs"]), student, _number(result["seconds"]))


def _under_way(folder: RunFolder) -> Progress:
    lines = read_bytes(folder.metrics).decode().splitlines()
    records = [json.loads(line) for line in lines]
    evaluated = [record["eval"] for record in records if "eval" in record]
    student = _number(evaluated[-1]["student"]["top1"]) if evaluated else None
    return Progress(len(records), student, sum(_number(record["seconds"]) for record in records))


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
