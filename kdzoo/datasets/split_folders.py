"""Which folder holds which split, by the names that people give such folders."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from kdzoo.data.folders import class_name, entries_in, folders_in
from kdzoo.data.image_files import is_image
from kdzoo.errors import UserError

NAMES = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation", "dev", "development", "eval", "evaluation"},
    "test": {"test", "testing"},
}
SHORT = {"tr": "train", "trn": "train", "te": "test", "tst": "test"}
"""Names that mean a split only where nothing stands beside them."""

KIND = r"(?:data)?(?:set|data|split|images?|imgs?|samples?)"
"""What may follow without a meaning, as in ``training_set``, ``testData`` and ``val_images``."""


def find_split_folders(root: Path) -> dict[str, Path]:
    """The folders of ``root`` that hold splits, by split; none where it holds class folders.

    ``Train`` and ``TEST``, ``training_set``, ``trainset``, ``val2017``, ``validation`` and ``dev``
    are understood, and so are ``seg_train`` beside ``seg_test``. A folder with such a name is a
    class all the same where it has folders beside it whose names are others, and images lie
    directly in it.

    Raises:
        UserError: two folders are the same split, there is none to train or to test on, or a
            folder may be a split as well as a class.
    """
    folders = folders_in(root)
    named = _by_split(folders)
    taken = [folder for found in named.values() for folder in found]
    others = [folder for folder in folders if folder not in taken]
    if not taken or (others and not any(folders_in(folder) for folder in taken)):
        return {}
    for split, found in named.items():
        if len(found) > 1:
            raise UserError(
                f"{_listed(found)} in {root} would both be the {split} split. Rename "
                "one of them or take it away."
            )
    if "train" not in named:
        raise UserError(
            f"{root} has {_listed(taken)}, but no train folder beside it. Add one; or "
            f"name one folder that is to be divided: dataset.root={taken[0]}"
        )
    if len(named) == 1:
        train = taken[0]
        a_class = f" (if {train.name} is a class, rename it)" if others else ""
        raise UserError(
            f"{root} has a {train.name} folder, but neither test nor val beside it. Add "
            f"one, or divide the images of {train.name}: dataset.root={train} "
            f"dataset.test_fraction=0.2{a_class}"
        )
    return {split: named[split][0] for split in NAMES if split in named}


def innermost(folder: Path) -> Path:
    """``folder``, or what an archive was unpacked into: a lone folder in it that holds folders."""
    visited = set()
    while os.path.realpath(folder) not in visited:
        visited.add(os.path.realpath(folder))
        inside = folders_in(folder)
        if len(inside) != 1 or _by_split(inside) or not folders_in(inside[0]):
            break
        if any(is_image(entry) for entry in entries_in(inside[0])):
            break
        folder = inside[0]
    return folder


def labelled(folders: Mapping[str, Path]) -> dict[str, Path]:
    """The folders of splits whose images have labels: ``train``, and those with class folders.

    Without labels come the test images of competitions, in no folder or in one of any name.

    Raises:
        UserError: ``train`` has no class folders.
    """
    train = folders["train"]
    known = {class_name(folder) for folder in folders_in(train)}
    if not known:
        raise UserError(f"{train} has no folders in it. Each class needs one, with its images.")
    found = {}
    for split, folder in folders.items():
        inside = folders_in(folder)
        if len(inside) > 1 or any(class_name(one) in known for one in inside):
            found[split] = folder
    return found


def doubts(classes: Path) -> tuple[str, ...]:
    """A note where folders that are to be classes look like splits with names of their own.

    Raises:
        UserError: they are ``CLASS/train`` and ``CLASS/test``, which would be one class, or surely
            splits: all hold the same folders, and one is named after a split.
    """
    folders = folders_in(classes)
    insides = [folders_in(folder) for folder in folders]
    for folder, inside in zip(folders, insides, strict=True):
        if len(_by_split(inside)) > 1:
            raise UserError(
                f"{folder} would be a class, but it has {_listed(inside)} in it. Point "
                "dataset.root at the folder that holds the splits, and put the class folders into "
                "these: ROOT/train/CLASS."
            )
    names = [[one.name for one in inside] for inside in insides]
    if len(names) < 2 or len(names[0]) < 2 or any(some != names[0] for some in names):
        return ()
    alike = f"{_listed(folders)} in {classes} hold the same folders: {_listed(insides[0])}"
    if any(_parse(folder.name)[1] for folder in folders):
        raise UserError(
            f"{alike}. If these are the classes, name the others train and test (and val)."
        )
    return (f"{alike}. They are taken for the classes; if they are splits, name them so",)


def _by_split(folders: list[Path]) -> dict[str, list[Path]]:
    """Those that are named like splits; a link beside the folder that it leads to counts once.

    Names with a stem, such as ``seg_train``, count where a whole set of splits shares it: else
    ``freight_train`` and ``bullet_train`` would be splits.
    """
    by_stem: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    seen = set()
    for folder in folders:
        stem, split = _parse(folder.name)
        place = (split, os.path.realpath(folder))
        if split is not None and place not in seen:
            seen.add(place)
            by_stem[stem][split].append(folder)
    if "" in by_stem:
        return dict(by_stem[""])
    sets = [named for named in by_stem.values() if "train" in named and len(named) > 1]
    return dict(sets[0]) if len(sets) == 1 else {}


def _parse(name: str) -> tuple[str, str | None]:
    """What a folder's name says besides its split, and the split: ``seg_train``: seg, train."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    splits = [_split(word) for word in words]
    rest = [
        word
        for word, split in zip(words, splits, strict=True)
        if split is None and not re.fullmatch(KIND, word)
    ]
    found = [split for split in splits if split is not None]
    if not found and len(words) == 1 and words[0] in SHORT:
        return "", SHORT[words[0]]
    return " ".join(rest), found[0] if len(found) == 1 else None


def _split(word: str) -> str | None:
    for split, names in NAMES.items():
        if word in names or re.fullmatch(f"({'|'.join(names)}){KIND}", word):
            return split
    return None


def _listed(folders: list[Path]) -> str:
    names = [folder.name for folder in folders]
    return ", ".join(names[:3]) + ", ..." if names[3:] else " and ".join(names)
