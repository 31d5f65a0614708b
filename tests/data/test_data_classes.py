"""Which folders are classes, what they are called, and what each must hold."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data_helpers import contents, divided, load_folder, refusal

from kdzoo.data import Splits
from kdzoo.data.images import ArrayImages
from kdzoo.data.splits import Split
from kdzoo.datasets.split_folders import find_split_folders
from kdzoo.errors import UserError


def class_of_each(found):
    return {split: sorted(classes) for split, classes in found.items()}


@pytest.mark.parametrize("word", ["train", "test", "val", "dev"])
def test_a_class_may_be_named_like_a_split(folders, word):
    folders.fill(".", ["bus", "car", word], count=5)
    splits = load_folder(folders, test_fraction=0.4)
    assert splits.classes == tuple(sorted(["bus", "car", word]))
    assert class_of_each(contents(splits, folders.root))["test"] == sorted(["bus", "car", word])
    assert len(splits.train) == 9


def test_a_class_of_a_split_may_be_named_like_a_split(folders):
    folders.fill("train", ["bus", "train"], count=2)
    folders.fill("test", ["bus", "train"], count=1)
    found = contents(load_folder(folders), folders.root)
    assert found["train"]["train"] == ["train/train/000.png", "train/train/001.png"]
    assert found["test"]["train"] == ["test/train/000.png"]


def test_classes_that_share_a_word_with_splits(folders):
    names = ["bullet_train", "freight_train", "test_tube"]
    folders.fill(".", names, count=5)
    assert load_folder(folders).classes == tuple(names)


def test_what_may_be_a_class_or_a_split(folders):
    folders.fill("train", ["old", "new"])
    folders.fill(".", ["bus", "car"])
    assert "if train is a class, rename it" in refusal(folders)


def test_splits_inside_of_classes(folders):
    for name in ("cat", "dog"):
        folders.fill(f"{name}/train", count=2)
        folders.fill(f"{name}/test", count=1)
    assert "cat would be a class, but it has test and train in it" in refusal(folders)


PARTS = {
    "folds": {"fold0": "cat dog", "fold1": "cat dog", "fold2": "cat dog"},
    "two of any name": {"alice": "cat dog emu", "bob": "cat dog emu"},
    "one lacks a class": {"k1": "cat dog emu", "k2": "cat dog", "k3": "dog emu"},
    "in other spellings": {"cv0": "Cat dog", "cv1": "cat DOG"},
    "something else beside": {"part-1": "cat dog", "part-2": "cat dog", "part-3": "cat", "etc": ""},
    "a folder in each": {"a": "data/cat data/dog", "b": "data/cat data/dog"},
    "images and masks": {"ill": "images masks", "well": "images masks"},
}


@pytest.mark.parametrize("below", ["", "archive/", "train/"])
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS.keys())
def test_parts_of_one_data_set_are_not_classes(folders, parts, below):
    for part, classes in parts.items():
        folders.fill(below + part, classes.split() or ["."], count=2)
        folders.fill(f"test/{part}", count=1) if below == "train/" else None
    message = refusal(folders)
    names = sorted({Path(name).name.casefold() for one in parts.values() for name in one.split()})
    assert "hold the same folders: " in message
    assert all(name in message.casefold() for name in names)
    assert f"of {len(parts)} folders look like parts of one data set" in message
    assert f"dataset.root={below}{sorted(parts)[0]}" in message or (
        "etc" in parts and f"dataset.root={below}part-1" in message
    )
    splits = load_folder(folders, same_subfolders=True)
    assert splits.classes == tuple(sorted(parts))
    assert any("dataset.same_subfolders=true" in note for note in splits.notes)


@pytest.mark.parametrize(
    "tree",
    [
        {"cat": "persian manx", "dog": "poodle pug"},
        {"cat": "persian other", "dog": "poodle other", "emu": "other"},
        {"cat": "images", "dog": "images"},
        {"cat": "1 2", "dog": ".", "emu": ".", "fox": "."},
        {"cat": ". 2024 2025", "dog": ". 2024 2025"},
    ],
)
def test_folders_inside_of_classes(folders, tree):
    for name, inside in tree.items():
        folders.fill(name, inside.split(), count=2)
    splits = load_folder(folders)
    assert splits.classes == tuple(sorted(tree))
    assert splits.notes == (divided(folders),)


@pytest.mark.parametrize("place", ["test/0001.png", "test/unknown/0001.png", "test/images/1.png"])
def test_test_images_without_labels(folders, place):
    folders.fill("train", count=2)
    folders.write(place)
    assert "There is nothing to test on: test has no class folders" in refusal(folders)
    folders.fill("val", count=1)
    splits = load_folder(folders)
    assert contents(splits, folders.root)["test"] == {k: [f"val/{k}/000.png"] for k in "ab"}
    assert splits.val is None
    assert "its images have no labels: it is left out" in splits.notes[0]
    assert splits.notes[1].endswith("val is used as the test split")


def test_training_images_without_labels(folders):
    folders.write("train/0001.png")
    folders.write("test/0001.png")
    assert "train has no folders in it. Each class needs one" in refusal(folders)
    folders.fill("test")
    assert "train has no folders in it. Each class needs one" in refusal(folders)


def test_a_single_class(folders):
    folders.fill(".", ["cat"])
    assert "only one class, 'cat'" in refusal(folders)
    black = Split(ArrayImages(np.zeros((2, 8, 8, 3), np.uint8)), np.zeros(2, np.int64))
    with pytest.raises(UserError, match="only one class, 'cat'"):
        Splits(black, black, classes=["cat"])


@pytest.mark.parametrize("empty", [True, False])
def test_a_test_split_that_lacks_a_class(folders, empty):
    folders.fill("train", ["ant", "bee", "cow"], count=2)
    folders.fill("test", ["ant", "cow"], count=2)
    if empty:
        (folders.root / "test/bee").mkdir()
    splits = load_folder(folders)
    assert splits.classes == ("ant", "bee", "cow")
    assert splits.test.labels.tolist() == [0, 0, 2, 2]
    assert splits.remarks() == ("the test split has no image of 1 of the 3 classes (bee)",)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_cannot_be_trained(folders, split):
    for name in ("train", "val", "test"):
        folders.fill(name, ["cat", "dog"])
    folders.fill(split, ["cow"])
    assert f"train and {split} have different classes: there is no 'cow'" in refusal(folders)


def test_an_empty_class_in_training(folders):
    folders.fill("train")
    folders.fill("test")
    (folders.root / "train/empty").mkdir()
    assert "train/empty holds no images" in refusal(folders)


def test_class_names_are_the_same_however_accents_are_encoded(folders):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    folders.fill("train", ["dog", composed, "cafz"], count=2)
    folders.fill("test", ["dog", decomposed, "cafz"], count=1)
    splits = load_folder(folders)
    assert splits.classes == ("cafz", composed, "dog")
    assert contents(splits, folders.root)["test"][composed] == [f"test/{decomposed}/000.png"]
    shutil.move(folders.root / "train" / composed, folders.root / "train" / decomposed)
    assert load_folder(folders).classes == splits.classes
    folders.fill("train", [composed])
    assert "have the same name" in refusal(folders)


def test_a_class_name_that_is_not_utf_8(folders):
    folders.fill(".", ["cat", "dog"])
    os.rename(os.fsencode(folders.root / "cat"), os.fsencode(folders.root) + b"/caf\xe9")
    assert r"caf\udce9 is not UTF-8" in refusal(folders)


def test_class_folders_are_no_splits(folders):
    folders.fill(".", ["cat", "dog"])
    assert find_split_folders(folders.root) == {}


def test_class_names_that_differ_in_blanks(folders):
    folders.fill(".", ["cat", "cat ", "dog"])
    assert "'cat' and 'cat ' have the same name" in refusal(folders)


def test_what_is_so_in_each_split_is_said_once(folders):
    for split in ("train", "test"):
        folders.fill(split, ["Cat", "cat", "dog"], count=5)
    (alike,) = [note for note in load_folder(folders).notes if "capitals" in note]
    assert "'Cat' and 'cat'" in alike


def test_class_names_that_differ_in_capitals(folders):
    folders.fill(".", ["Cat", "cat", "dog"], count=5)
    splits = load_folder(folders)
    assert splits.classes == ("Cat", "cat", "dog")
    alike = "classes whose names differ in capitals alone: 'Cat' and 'cat'"
    assert splits.notes == (alike, divided(folders))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_the_only_image_of_a_class_is_trained_on(folders, fraction):
    folders.fill(".", ["ant", "bee"], count=9)
    folders.fill(".", ["cow", "dog", "emu"], count=1)
    splits = load_folder(folders, test_fraction=fraction)
    found = contents(splits, folders.root)
    assert all(found["train"][name] == [f"{name}/000.png"] for name in ("cow", "dog", "emu"))
    assert set(found["test"]) == {"ant", "bee"}


def test_too_few_images_to_divide(folders):
    folders.fill(".", ["ant", "bee"], count=1)
    assert "2 images of 2 classes, too few to set dataset.test_fraction=0.2" in refusal(folders)
