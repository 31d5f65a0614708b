"""Images in a folder for each split: which of them have labels, and what is said about the rest."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from kdzoo.data.folders import ClassFolders, combine, folders_in, scan
from kdzoo.data.splits import Splits
from kdzoo.datasets.label_files import KNOWN, labelled_by_list
from kdzoo.datasets.split_folders import check_classes, innermost, labelled
from kdzoo.errors import UserError


def read_splits(root: Path, named: Mapping[str, Path], same_subfolders: bool = False) -> Splits:
    """The images of the folders ``named`` in ``root``, by split; of ``val`` alone, to test on.

    Labels are the names of class folders. Images to test on that lie in one folder have those of
    the list that comes with them, if there is one that is understood.

    Args:
        root: what is beside the folders in it is said.
        named: the folder of ``train``, and of ``test``, ``val`` or both.
        same_subfolders: classes may hold the same folders.

    Raises:
        UserError: there is nothing to train or to test on, or as :func:`scan`, :func:`combine`,
            :func:`check_classes` and :func:`labelled_by_list`.
    """
    folders = {split: innermost(folder) for split, folder in named.items()}
    in_classes = labelled(folders)
    notes: list[str] = []
    found: dict[str, ClassFolders] = {}
    without: list[str] = []
    for split, folder in folders.items():
        if split in in_classes:
            notes += went_into(f"{split} images", named[split], folder)
            notes += check_classes(folder, same_subfolders)
            found[split] = scan(folder)
        elif (by_list := labelled_by_list(named[split])) is not None:
            found[split] = by_list
        else:
            without.append(
                f"{named[split]} has no class folders, so that its images have no labels: it is "
                "left out"
            )
    if len(found) == 1:
        raise UserError(
            f"There is nothing to test on: {'; '.join(without)}. Put its images into class "
            f"folders, add the list of their classes ({KNOWN}), or take it away and divide those "
            f"to train on: dataset.root={named['train']} dataset.test_fraction=0.2"
        )
    notes += without
    if "test" not in found:
        notes.append(f"{named['val']} is used as the test split")
        found["test"] = found.pop("val")
    notes += _beside(root, named)
    splits = combine(found)
    return replace(splits, notes=(*notes, *splits.notes))


def went_into(what: str, given: Path, found: Path) -> tuple[str, ...]:
    """A note where images are not in the folder that was given but deeper in it."""
    return () if given == found else (f"the {what} are those in {found}",)


def _beside(root: Path, named: Mapping[str, Path]) -> Iterator[str]:
    if beside := [folder.name for folder in folders_in(root) if folder not in named.values()]:
        yield f"left out, beside the splits: {', '.join(beside)}"
