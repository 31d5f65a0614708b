"""Image files in class folders: ``FOLDER/CLASS/**/NAME.jpg``."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdzoo.data.image_files import why_left_out
from kdzoo.data.images import FileImages
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import UserError


@dataclass(frozen=True)
class ClassFolders:
    """The images of a folder of class folders.

    Attributes:
        classes: the names of the class folders, sorted; a class's label is its place here.
        split: all images, class after class and sorted by path in each.
    """

    classes: tuple[str, ...]
    split: Split


def scan(folder: Path) -> ClassFolders:
    """The images in the class folders of ``folder``, at any depth; hidden ones are left out.

    Raises:
        UserError: there is no such folder, it has no class folders, or one of them has no images.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Check dataset.root.")
    try:
        return _scan(folder)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _scan(folder: Path) -> ClassFolders:
    classes = sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."
    )
    if not classes:
        raise UserError(f"{folder} has no folders in it. Each class needs one, with its images.")
    paths: list[str] = []
    stamps: list[tuple[int, int]] = []
    labels: list[int] = []
    left_out: dict[str, str] = {}
    for label, name in enumerate(classes):
        above = frozenset({os.path.realpath(folder)})
        found = sorted(_images(folder / name, above, left_out))
        if not found:
            raise UserError(
                f"The class folder {folder / name} holds no images. Fill it or take it away."
            )
        paths += [path for path, _ in found]
        stamps += [stamp for _, stamp in found]
        labels += [label] * len(found)
    images = FileImages(paths, np.array(stamps, dtype=np.int64), left_out)
    return ClassFolders(tuple(classes), Split(images, np.array(labels, dtype=np.int64)))


def combine(folders: Mapping[str, Path]) -> Splits:
    """A data set whose splits, ``train``, ``test`` and perhaps ``val``, each have a folder.

    Raises:
        UserError: as :func:`scan`, or the folders have different classes.
    """
    found = {name: scan(folder) for name, folder in folders.items()}
    train = found["train"]
    for name, other in found.items():
        only = sorted(set(train.classes) ^ set(other.classes))
        if only:
            listed = ", ".join(f"'{one}'" for one in only[:5]) + (", ..." if only[5:] else "")
            raise UserError(
                f"{folders['train']} and {folders[name]} have different classes: {listed} "
                "in one of them only. Both need the same class folders."
            )
    return Splits(
        train=train.split,
        test=found["test"].split,
        val=found["val"].split if "val" in found else None,
        classes=train.classes,
    )


def _images(
    folder: str | Path, above: frozenset[str], left_out: dict[str, str]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Paths and stamps; a link to one of the folders ``above`` would lead round for ever."""
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(entry.path, above | {real}, left_out)
            elif reason := why_left_out(entry):
                left_out[entry.path] = reason
            else:
                yield entry.path, _stamp(entry)


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # such as a link to nowhere: an unreadable image, to be named or skipped
        return 0, 0
    # the latter also moves where a file is replaced by one that pretends to be as old
    return status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)
