"""The classes of samples that come with a label each: a number or a name."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kdzoo.data.stamps import watch
from kdzoo.errors import UserError

Label = int | str

FILES = ("classes.txt", "classnames.txt", "classes.json")
"""What the file with the names of the classes may be called."""


def find_class_names(folder: Path) -> tuple[Path, list[str]] | None:
    """The file in a folder that names the classes, in the order of their labels, and the names.

    A text has one a line; JSON a list, or the name of each label, or the label of each name.

    Raises:
        UserError: it cannot be read so, or has a name twice.
    """
    for name in FILES:
        path = folder / name
        watch(path)
        if path.is_file():
            break
    else:
        return None
    try:
        text = path.read_text("utf-8")
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
        names = [_plain(one) for one in (_by_label(found) if isinstance(found, dict) else found)]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as the names of the classes: {error}.") from error
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{path} has two classes of the name '{twice[0]}'. Tell them apart.")
    return path, names


def with_classes(
    labels: Mapping[str, Sequence[Label]], names: Sequence[str] | None, where: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The labels of each split as the places of their classes, int64 [N], and the classes.

    Numbers count from 0, and are their classes' names where these are not given. Where labels are
    names, the classes are those of ``names``, or else of the training samples, sorted.

    Args:
        labels: by split; one of them is ``train``, or all samples are in one split.
        names: of the classes, in the order of their labels, where they are known.
        where: the samples are, for messages.

    Raises:
        UserError: some are numbers and others names, or there is no such class.
    """
    kinds = {type(label) for of_split in labels.values() for label in of_split}
    if len(kinds) > 1:
        raise UserError(f"In {where} some labels are numbers and others names. Write all alike.")
    train = labels.get("train") or next(iter(labels.values()))
    if str in kinds:
        classes = tuple(names) if names is not None else tuple(sorted(set(map(str, train))))
        place: dict[Label, int] = {name: label for label, name in enumerate(classes)}
    else:
        numbers = [int(label) for label in train]
        count = len(names) if names is not None else max(numbers, default=-1) + 1
        if names is None and count > len(numbers):
            raise UserError(
                f"The labels in {where} reach {count - 1}, but there are {len(numbers)} samples to "
                "train on, and each class needs one. Number the classes from 0."
            )
        classes = tuple(names) if names is not None else tuple(map(str, range(count)))
        place = {label: label for label in range(count)}
    for split, of_split in labels.items():
        if unknown := [label for label in of_split if label not in place]:
            raise UserError(
                f"{len(unknown)} of the {len(of_split)} {split} samples in {where} are of a class "
                f"that is not among the {len(classes)} there are, such as {unknown[0]!r}."
            )
    found = {
        split: np.array([place[label] for label in of_split], np.int64)
        for split, of_split in labels.items()
    }
    return found, classes


def as_label(value: object) -> Label:
    """A label as it is written in a file: a number, or the name of a class, NFC-normalised.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _plain(value)
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() and digits.isascii() and len(digits) < 10 else text


def _plain(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{name!r} is no name of a class")
    return unicodedata.normalize("NFC", name.strip())


def _by_label(found: Mapping[str, object]) -> list[object]:
    """The names in ``{"0": "cat"}`` or ``{"cat": 0}``, in the order of the labels."""
    if all(isinstance(value, int) for value in found.values()):
        found = {str(label): name for name, label in found.items()}
    return [found[str(label)] for label in range(len(found))]
