"""Labels of images that lie in one folder, from the lists that come with them.

ImageNet's validation images come so, with a list in the development kit or in Kaggle's archive,
and those of Tiny ImageNet, with a list beside them.
"""

import csv
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kdzoo.data.folders import ClassFolders, LeftOut, as_files, images_below
from kdzoo.data.splits import Split
from kdzoo.data.stamps import watch
from kdzoo.errors import UserError

KAGGLE = "LOC_{}_solution.csv"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SYNSETS = "meta.mat"
DEVKITS = (".", "data", "ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit/data")
"""Where the development kit's files are, below the folder that it was unpacked in."""

ABOVE = 4
"""Folders above the images in which a list may be: ``LOC_val_solution.csv`` beside ``ILSVRC``."""

KNOWN = f"val_annotations.txt, {KAGGLE.format('val')}, or {TRUTH} with {SYNSETS}"
"""The lists that are understood, in a line for people."""


def labelled_by_list(folder: Path) -> ClassFolders | None:
    """The images below ``folder`` with the labels of the list that comes with them.

    Returns:
        in the order of images in class folders; None where there is no such list.

    Raises:
        UserError: the list cannot be read, or does not have every image once and no other.
    """
    found = _list_of(folder)
    if found is None:
        return None
    path, labels = found
    left_out = LeftOut(folder)
    images = sorted(images_below(folder.parent, folder, left_out))
    names = [_listed_as(Path(image.path), labels) for image in images]
    unknown = [image.path for image, name in zip(images, names, strict=True) if name is None]
    if unknown:
        raise UserError(
            f"{len(unknown)} of the {len(images)} images in {folder} have no label in {path}, such "
            f"as {unknown[0]}. Take them away or complete the list."
        )
    if missing := sorted(labels.keys() - set(names)):
        raise UserError(
            f"{len(missing)} of the {len(labels)} images that {path} lists are not in {folder}, "
            f"such as {missing[0]}. Unpack all of them."
        )
    classes = sorted(set(labels.values()))
    place = {name: label for label, name in enumerate(classes)}
    of_each = np.array([place[labels[name]] for name in names if name is not None], np.int64)
    order = np.argsort(of_each, kind="stable")
    split = Split(as_files(images), of_each).take(order)
    said = f"the labels of the images in {folder} are those in {path}"
    return ClassFolders(folder, tuple(classes), split, (said, *left_out.notes(str(path))))


def _listed_as(image: Path, labels: Mapping[str, str]) -> str | None:
    return next((name for name in (image.name, image.stem) if name in labels), None)


def _list_of(folder: Path) -> tuple[Path, dict[str, str]] | None:
    """The list that comes with the images of ``folder``, and the class of each image by name."""
    beside = folder / f"{folder.name}_annotations.txt"
    if _is_there(beside):
        return beside, _unique(beside, _annotations(beside))
    for above in list(folder.resolve().parents)[:ABOVE]:
        solution = above / KAGGLE.format(folder.name)
        if _is_there(solution):
            return solution, _unique(solution, _solution(solution))
        for kit in DEVKITS:
            truth, synsets = above / kit / TRUTH, above / kit / SYNSETS
            if folder.name == "val" and _is_there(truth) and _is_there(synsets):
                return truth, dict(_ground_truth(truth, synsets))
    return None


def _is_there(path: Path) -> bool:
    watch(path)
    return path.is_file()


def _unique(path: Path, rows: Iterator[tuple[str, str]]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, label in rows:
        if labels.setdefault(name, label) != label:
            raise UserError(f"{path} gives {name} two classes: {labels[name]} and {label}.")
    return labels


def _annotations(path: Path) -> Iterator[tuple[str, str]]:
    """Tiny ImageNet's: ``val_0.JPEG<tab>n03444034`` and a box."""
    for number, line in enumerate(_lines(path), 1):
        name, *rest = line.split("\t")
        if not name or not rest or not rest[0]:
            raise UserError(f"Line {number} of {path} is no image and class, apart by a tab.")
        yield name, unicodedata.normalize("NFC", rest[0].strip())


def _solution(path: Path) -> Iterator[tuple[str, str]]:
    """Kaggle's: ``ILSVRC2012_val_00048981,n03995372 85 1 499 272``."""
    for number, row in enumerate(csv.reader(_lines(path)), 1):
        if number == 1 and row[:1] == ["ImageId"]:
            continue
        if len(row) != 2 or not row[1].split():
            raise UserError(f"Line {number} of {path} is no image and class, apart by a comma.")
        yield row[0], row[1].split()[0]


def _ground_truth(path: Path, synsets: Path) -> Iterator[tuple[str, str]]:
    """The development kit's: the number of a class a line, that ``meta.mat`` gives the WordNet ID.

    Line i is of ``ILSVRC2012_val_{i:08}``.
    """
    from scipy.io import loadmat  # slow to import

    try:
        rows = loadmat(synsets, squeeze_me=True)["synsets"]
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
    except Exception as error:  # scipy raises anything
        raise UserError(f"{synsets} cannot be read as a table of classes: {error}.") from error
    for number, line in enumerate(_lines(path), 1):
        try:
            yield f"ILSVRC2012_val_{number:08}", wnids[int(line)]
        except (ValueError, KeyError):
            raise UserError(f"Line {number} of {path} is no class of {synsets}.") from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
