"""Which folder holds which split, by the names that people give such folders."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from kdzoo.data.folders import class_name, entries_in, folders_in, no_class_folders
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
    """The folders to train and to test on, by split; none where ``root`` holds class folders.

    Raises:
        UserError: as :func:`named_like_splits`, or there is none to train or to test on.
    """
    found = named_like_splits(root)
    if not found:
        return {}
    if "train" not in found:
        folders = list(found.values())
        raise UserError(
            f"{root} has {_listed(folders)}, but no train folder beside it. Add one; or "
            f"name one folder that is to be divided: dataset.root={folders[0]}"
        )
    if len(found) == 1:
        train = found["train"]
        others = [folder for folder in folders_in(root) if folder != train]
        a_class = f" (if {train.name} is a class, rename it)" if others else ""
        raise UserError(
            f"{root} has a {train.name} folder, but neither test nor val beside it. Add "
            f"one, or divide the images of {train.name}: dataset.root={train} "
            f"dataset.test_fraction=0.2{a_class}"
        )
    return found


def named_like_splits(root: Path) -> dict[str, Path]:
    """The folders of ``root`` that hold splits, by split; none where it holds class folders.

    ``Train`` and ``TEST``, ``training_set``, ``trainset``, ``val2017``, ``validation`` and ``dev``
    are understood, and so are ``seg_train`` beside ``seg_test``. A folder with such a name is a
    class all the same where it has folders beside it whose names are others, and images lie
    directly in it.

    Raises:
        UserError: two folders are the same split.
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
        raise UserError(no_class_folders(train))
    found = {}
    for split, folder in folders.items():
        inside = folders_in(folder)
        if len(inside) > 1 or any(class_name(one) in known for one in inside):
            found[split] = folder
    return found


def check_classes(folder: Path, same_subfolders: bool) -> tuple[str, ...]:
    """Look whether the folders in ``folder`` are classes, or parts of a data set with classes.

    Folds, as for cross-validation, have names of any kind; what gives parts away is that they hold
    the same folders: those of the classes. So may classes, with a folder for each year in each.

    Args:
        folder: whose folders are to be classes.
        same_subfolders: whether a person has said that they are, though they look like parts.

    Returns:
        a note where they look like parts and are taken for classes.

    Raises:
        UserError: they look like parts; or they are ``CLASS/train`` and ``CLASS/test``, which would
            be one class.
    """
    classes = folders_in(folder)
    insides = [_folders_inside(one) for one in classes]
    for one, inside in zip(classes, insides, strict=True):
        if len(_by_split(inside)) > 1:
            raise UserError(
                f"{one} would be a class, but it has {_listed(inside)} in it. Point dataset.root "
                "at the folder that holds the splits, and put the class folders into these: "
                "ROOT/train/CLASS."
            )
    shared = _shared_names(insides)
    alike = [
        one
        for one, inside in zip(classes, insides, strict=True)
        if shared & set(map(_plain, inside)) and not any(map(is_image, entries_in(one)))
    ]
    if not shared or 2 * len(alike) <= len(classes):
        return ()
    names = {_plain(one): one for inside in reversed(insides) for one in reversed(inside)}
    inner = [names[name] for name in sorted(shared)]
    found = f"{_listed(alike)} in {folder} hold the same folders: {_listed(inner)}"
    if same_subfolders:
        return (f"{found}. They are classes all the same, as dataset.same_subfolders=true says",)
    raise UserError(
        f"{found}. So {len(alike)} of {len(classes)} folders look like parts of one data set "
        f"(folds, batches, kinds of images), and the {len(inner)} inside like its classes. If they "
        "are, name the parts train and test, or put the images of each class into one folder; one "
        f"part alone is dataset.root={alike[0]}. If {_listed(alike)} are the classes, say "
        "dataset.same_subfolders=true."
    )


def _folders_inside(folder: Path) -> list[Path]:
    inside = folders_in(folder)
    return folders_in(innermost(folder)) if len(inside) == 1 else inside


def _shared_names(insides: list[list[Path]]) -> set[str]:
    """The names that at least half of the folders hold, if they are several and most of all."""
    counts = Counter(name for inside in insides for name in set(map(_plain, inside)))
    shared = {name for name, count in counts.items() if count > 1 and 2 * count >= len(insides)}
    most = 2 * sum(counts[name] for name in shared) > counts.total()
    return shared if len(shared) > 1 and most else set()


def _plain(folder: Path) -> str:
    return class_name(folder).casefold()


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


def split_named(name: str) -> str | None:
    """The split that a name tells, such as of a file: ``val`` of ``imagenet-validation-0007``."""
    return _parse(name)[1]


def _split(word: str) -> str | None:
    for split, names in NAMES.items():
        if word in names or re.fullmatch(f"({'|'.join(names)}){KIND}", word):
            return split
    return None


def _listed(folders: list[Path]) -> str:
    names = [folder.name for folder in folders]
    return ", ".join(names[:3]) + ", ..." if names[3:] else " and ".join(names)
