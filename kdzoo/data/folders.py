"""Image files in class folders: ``FOLDER/CLASS/**/NAME.jpg``."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdzoo.data.image_files import has_extension, is_image
from kdzoo.data.images import FileImages
from kdzoo.data.paths import Paths
from kdzoo.data.splits import Split, Splits
from kdzoo.data.stamps import NOTHING, stamp, watch
from kdzoo.errors import UserError

NOT_DATA = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__"}
)
"""Folders that archivers and file systems leave behind."""


@dataclass(frozen=True)
class ClassFolders:
    """The images of a folder of class folders.

    Attributes:
        folder: that holds them.
        classes: the names of the class folders, NFC-normalised and sorted; a class's label is its
            place here.
        split: all images, class after class and sorted by path in each.
        notes: what was left out, in a line for people; nothing where all was used.
    """

    folder: Path
    classes: tuple[str, ...]
    split: Split
    notes: tuple[str, ...] = ()


class FoundImage(NamedTuple):
    """An image below a folder: its path, the file it is without links, and that file's stamp."""

    path: str
    real: str
    stamp: tuple[int, int]


def scan(folder: Path) -> ClassFolders:
    """The images in the class folders of ``folder``, at any depth; a class may have none.

    Hidden files are passed over. Links are followed, but a real file counts once in its class, and
    a folder that holds ``folder`` is not gone into again.

    Raises:
        UserError: there is no such folder, it has no class folders, one of them cannot be read, two
            have the same name, or a file is in two of them.
    """
    classes: dict[str, Path] = {}
    twins: dict[str, Path] = {}
    for inside in folders_in(folder):
        name = class_name(inside)
        twin = twins.setdefault(name.strip(), inside)
        if twin != inside:
            raise UserError(
                f"The class folders '{twin}' and '{inside}' have the same name, but for "
                "blanks at its ends or how an accent is encoded. Put their images into one."
            )
        classes[name] = inside
    if not classes:
        raise UserError(no_class_folders(folder))
    left_out = LeftOut(folder)
    for entry in entries_in(folder):
        if not _is_folder(entry):
            left_out.add(_why_outside(entry), entry.path)
    owner: dict[str, str] = {}
    images: list[FoundImage] = []
    labels: list[int] = []
    for label, name in enumerate(sorted(classes)):
        found = sorted(images_below(folder, classes[name], left_out))
        for image in found:
            if owner.setdefault(image.real, name) != name:
                raise UserError(
                    f"{image.path} is the same file as an image of the class "
                    f"'{owner[image.real]}', by a link. Take one of them away."
                )
        images += found
        labels += [label] * len(found)
    return ClassFolders(
        folder,
        tuple(sorted(classes)),
        Split(as_files(images), np.array(labels, np.int64)),
        (*_alike_in_capitals(sorted(classes)), *left_out.notes()),
    )


def as_files(images: Sequence[FoundImage]) -> FileImages:
    """The images, to be read."""
    stamps = np.array([image.stamp for image in images], dtype=np.int64).reshape(-1, 2)
    return FileImages(Paths.of(image.path for image in images), stamps)


def combine(found: Mapping[str, ClassFolders]) -> Splits:
    """A data set of the images of its splits, ``train``, ``test`` and perhaps ``val``.

    The classes are those of ``train``; the others may lack some.

    Raises:
        UserError: another split has other classes or no images, or a class none in ``train``.
    """
    train = found["train"]
    require_images(train)
    for other in found.values():
        unknown = [f"'{one}'" for one in other.classes if one not in train.classes]
        if unknown:
            listed = ", ".join(unknown[:5]) + (", ..." if unknown[5:] else "")
            raise UserError(
                f"{train.folder} and {other.folder} have different classes: there is no "
                f"{listed} to train on. Rename such folders as in {train.folder.name}, or take "
                "them away."
            )
        if not len(other.split):
            raise UserError(f"{other.folder} holds no images in its class folders.")
    splits = {name: relabelled(one, train.classes) for name, one in found.items()}
    return Splits(
        train=splits["train"],
        test=splits["test"],
        val=splits.get("val"),
        classes=train.classes,
        notes=tuple(dict.fromkeys(note for one in found.values() for note in one.notes)),
    )


def relabelled(found: ClassFolders, classes: Sequence[str]) -> Split:
    """The images of ``found``, with the places of their classes among ``classes`` for labels."""
    place = {name: label for label, name in enumerate(classes)}
    labels = np.array([place[name] for name in found.classes], np.int64)
    return Split(found.split.images, labels[found.split.labels])


def require_images(found: ClassFolders) -> None:
    """Refuse a folder to train on where a class has no images.

    Raises:
        UserError: the message names the class.
    """
    filled = set(found.split.labels.tolist())
    for label, name in enumerate(found.classes):
        if label not in filled:
            raise UserError(
                f"The class folder {found.folder / name} holds no images. Fill it or take it away."
            )


ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
LISTS = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx", ".parquet", ".mat")


def no_class_folders(folder: Path) -> str:
    """What to do about a folder in which there are no class folders, by what there is."""
    names = [entry.name for entry in entries_in(folder)]
    archives = [name for name in names if name.lower().endswith(ARCHIVES)]
    lists = [name for name in names if name.lower().endswith(LISTS)]
    message = f"{folder} has no folders in it. Each class needs one, with its images."
    if archives:
        return f"{message} Unpack {_first(archives)} first."
    if lists:
        return f"{message} Labels are not read from files ({_first(lists)})."
    return message


def class_name(folder: Path) -> str:
    """A class folder's name, NFC-normalised: macOS stores accents apart from their letters.

    Raises:
        UserError: the name is not UTF-8, in which a student's classes are written down.
    """
    name = unicodedata.normalize("NFC", folder.name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The name of the class folder {folder} is not UTF-8, so that it cannot be kept with "
            "the student. Rename it."
        ) from None
    return name


def folders_in(folder: Path) -> list[Path]:
    """The folders in ``folder``, sorted; hidden ones and those of archivers are passed over.

    Raises:
        UserError: there is no such folder, or it cannot be read.
    """
    return [folder / entry.name for entry in entries_in(folder, _is_folder)]


def entries_in(
    folder: str | Path, which: Callable[[os.DirEntry[str]], bool] = lambda entry: True
) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name; see :func:`folders_in`."""
    watch(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (
                    one
                    for one in entries
                    if one.name[0] != "." and one.name not in NOT_DATA and which(one)
                ),
                key=lambda entry: entry.name,
            )
    except FileNotFoundError:
        raise UserError(f"There is no folder {folder}. Check dataset.root.") from None
    except NotADirectoryError:
        unpack = "Unpack it, and name" if str(folder).lower().endswith(ARCHIVES) else "Name"
        raise UserError(
            f"There is no folder {folder}: it is a file. {unpack} the folder with its images as "
            "dataset.root."
        ) from None
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be read: {error.strerror}. Give yourself permission, or "
            "take it away."
        ) from error


NO_IMAGE = "of no image format"


def _why_outside(entry: os.DirEntry[str]) -> str:
    """Why something that is no folder counts for nothing beside class folders."""
    if not os.path.exists(entry.path):
        return "a link to nowhere"
    return "outside class folders" if is_image(entry) else NO_IMAGE


def _alike_in_capitals(classes: Iterable[str]) -> Iterator[str]:
    """Notes on classes that may be one; or letters, of which there are two of a kind."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_name[name.casefold()].append(name)
    if pairs := [" and ".join(map(repr, some)) for some in by_name.values() if len(some) > 1]:
        yield f"classes whose names differ in capitals alone: {_first(pairs)}"


@dataclass
class LeftOut:
    """Paths of what is left out of a folder, by the reason."""

    folder: Path
    paths: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, path: str) -> None:
        watch(path)
        self.paths[reason].append(os.path.relpath(path, self.folder))

    def notes(self, but: str = "") -> tuple[str, ...]:
        """What was left out, in a line; ``but`` is read in another way."""
        kept = {
            why: [one for one in some if os.path.join(self.folder, one) != but]
            for why, some in self.paths.items()
        }
        parts = [f"{len(some)} {why} ({_first(some)})" for why, some in kept.items() if some]
        return (f"left out of {self.folder}: {', '.join(parts)}",) if parts else ()


def images_below(folder: Path, of_class: Path, left_out: LeftOut) -> Iterator[FoundImage]:
    """Every image below ``of_class`` once, by whichever path comes first."""
    root = Path(os.path.realpath(folder))
    visited = {str(root), *map(str, root.parents)}
    found: set[str] = set()
    for entry, real in _files(of_class, visited, left_out):
        if not is_image(entry):
            left_out.add(NO_IMAGE, entry.path)
        elif _is_no_file(entry):
            left_out.add("no regular file", entry.path)  # reading from a pipe may never end
        elif real in found:
            left_out.add("there already, by a link", entry.path)
        else:
            found.add(real)
            yield FoundImage(entry.path, real, _stamp(entry))


def _files(
    folder: str | Path, visited: set[str], left_out: LeftOut
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Everything below a folder but folders, with its real path; each folder is entered once."""
    real = os.path.realpath(folder)
    if real in visited:
        left_out.add("there already, by a link", str(folder))
        return
    visited.add(real)
    for entry in entries_in(folder):
        if _is_folder(entry):
            if has_extension(entry.name):
                left_out.add("a folder that is called as an image", entry.path)
            yield from _files(entry.path, visited, left_out)
        elif entry.is_symlink():
            yield entry, os.path.realpath(entry.path)
        else:
            yield entry, f"{real}{os.sep}{entry.name}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # of a link that leads to itself, the entry would raise an error
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_no_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a pipe or a device; a link to nowhere may have been a file."""
    if entry.is_symlink():
        return os.path.exists(entry.path) and not os.path.isfile(entry.path)
    return not entry.is_file()


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        return stamp(entry.stat())
    except OSError:  # such as a link to nowhere: an unreadable image, to be named or skipped
        return NOTHING


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if listed[3:] else "")
