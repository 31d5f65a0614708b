"""Which image is in which split under which label, by the names and places of folders."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data_helpers import contents, load_named, open_named

from kdzoo.data import Splits
from kdzoo.data.folders import scan
from kdzoo.data.images import ArrayImages
from kdzoo.data.splits import Split
from kdzoo.datasets.split_folders import find_split_folders
from kdzoo.errors import UserError


def divided(folders):
    """What is said of a folder without a test split."""
    return (
        f"no split folders in {folders.root}: 0.2 of each class is the test split "
        "(dataset.test_fraction)"
    )


def load(folders, **settings):
    return load_named("imagefolder", root=folders.root, **settings)


def refusal(folders):
    with pytest.raises(UserError) as error:
        load(folders)
    return str(error.value).replace(f"{folders.root}/", "").replace(str(folders.root), "ROOT")


def class_of_each(found):
    return {split: sorted(classes) for split, classes in found.items()}


SPELLINGS = [
    ("train", "test", "val"),
    ("Train", "TEST", "Val"),
    ("training", "testing", "validation"),
    ("Training", "Testing", "Valid"),
    ("training_set", "test_set", "validation_set"),
    ("trainset", "testset", "valset"),
    ("Train-Set", "Test-Set", "Dev-Set"),
    ("train set", "test set", "dev set"),
    ("TrainSet", "TestSet", "ValSet"),
    ("train_images", "test_images", "eval_images"),
    ("training_data", "test-data", "development"),
    ("trainingData", "testData", "evaluation"),
    ("train2017", "test2017", "val2017"),
    ("seg_train", "seg_test", "seg_val"),
    ("carsTrain", "carsTest", "carsVal"),
    ("tr", "te", "val"),
    ("trn", "tst", "dev"),
]


@pytest.mark.parametrize(("train", "test", "val"), SPELLINGS)
def test_usual_names_of_splits(folders, train, test, val):
    folders.fill(train, ["cat", "dog"], count=3)
    folders.fill(test, ["cat", "dog"], count=1)
    assert contents(load(folders), folders.root) == {
        "train": {k: [f"{train}/{k}/00{n}.png" for n in range(3)] for k in ("cat", "dog")},
        "test": {k: [f"{test}/{k}/000.png"] for k in ("cat", "dog")},
    }
    folders.fill(val, ["cat", "dog"], count=2)
    found = contents(load(folders), folders.root)
    assert found["val"] == {k: [f"{val}/{k}/00{n}.png" for n in range(2)] for k in ("cat", "dog")}
    assert found["test"] == {k: [f"{test}/{k}/000.png"] for k in ("cat", "dog")}


@pytest.mark.parametrize("name", ["val", "VALID", "validation", "validation_set", "dev"])
def test_val_is_the_test_split_where_there_is_no_other(folders, name):
    folders.fill("train", count=2)
    folders.fill(name, count=1)
    splits = load(folders)
    assert contents(splits, folders.root)["test"] == {k: [f"{name}/{k}/000.png"] for k in "ab"}
    assert splits.val is None
    assert splits.notes == (f"{folders.root / name} is used as the test split",)


@pytest.mark.parametrize("only", ["test", "Val", "testing_set"])
def test_nothing_to_train_on(folders, only):
    folders.fill(only)
    assert f"has {only}, but no train folder" in refusal(folders)
    assert f"dataset.root={only}" in refusal(folders)


def test_nothing_to_test_on(folders):
    folders.fill("Training")
    message = refusal(folders)
    assert "neither test nor val" in message
    assert "dataset.root=Training dataset.test_fraction=0.2" in message


@pytest.mark.parametrize(
    ("split", "first", "second"),
    [
        ("train", "Training", "train"),
        ("train", "train", "train_set"),
        ("test", "test", "testing"),
        ("test", "test1", "test2"),
        ("val", "dev", "validation"),
    ],
)
def test_two_folders_for_one_split(folders, split, first, second):
    for name in ("train", "test", first, second):
        folders.fill(name)
    assert f"{first} and {second} in ROOT would both be the {split} split" in refusal(folders)


def test_a_link_to_a_split_beside_it_is_the_same_split(folders):
    folders.fill("train", count=2)
    folders.fill("test", count=1)
    (folders.root / "training").symlink_to("train")
    assert len(load(folders).train) == 4


@pytest.mark.parametrize("inside", ["photos", "images/photos", "data"])
def test_a_folder_in_a_folder_of_an_archives_name(folders, inside):
    folders.fill(f"{inside}/train", ["cat", "dog"], count=2)
    folders.fill(f"{inside}/test", ["cat", "dog"], count=1)
    folders.write("__MACOSX/cat/._001.png")
    folders.write(".cache/one.png")
    (folders.root / "readme.txt").write_text("unpacked")
    splits = load(folders)
    assert contents(splits, folders.root)["test"]["dog"] == [f"{inside}/test/dog/000.png"]
    assert splits.notes[0] == f"the data are those in {folders.root / inside}"


def test_class_folders_in_a_folder_of_an_archives_name(folders):
    folders.fill("photos", ["cat", "dog"], count=10)
    splits = load(folders)
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.test)) == (16, 4)


def test_splits_in_folders_of_their_own_names(folders):
    folders.fill("seg_train/seg_train", ["cat", "dog"], count=2)
    folders.fill("seg_test/seg_test", ["cat", "dog"], count=1)
    folders.write("seg_pred/seg_pred/1.png")
    splits = load(folders)
    assert contents(splits, folders.root)["test"]["cat"] == ["seg_test/seg_test/cat/000.png"]
    assert splits.notes == (
        f"the train images are those in {folders.root / 'seg_train/seg_train'}",
        f"the test images are those in {folders.root / 'seg_test/seg_test'}",
        "left out, beside the splits: seg_pred",
    )


def test_a_folder_that_leads_to_itself_is_not_followed_down_for_ever(folders):
    folders.root.mkdir()
    (folders.root / "again").symlink_to(".")
    assert "again holds no images" in refusal(folders)


@pytest.mark.parametrize("word", ["train", "test", "val", "dev"])
def test_a_class_may_be_named_like_a_split(folders, word):
    folders.fill(".", ["bus", "car", word], count=5)
    splits = load(folders, test_fraction=0.4)
    assert splits.classes == tuple(sorted(["bus", "car", word]))
    assert class_of_each(contents(splits, folders.root))["test"] == sorted(["bus", "car", word])
    assert len(splits.train) == 9


def test_a_class_of_a_split_may_be_named_like_a_split(folders):
    folders.fill("train", ["bus", "train"], count=2)
    folders.fill("test", ["bus", "train"], count=1)
    found = contents(load(folders), folders.root)
    assert found["train"]["train"] == ["train/train/000.png", "train/train/001.png"]
    assert found["test"]["train"] == ["test/train/000.png"]


def test_classes_that_share_a_word_with_splits(folders):
    names = ["bullet_train", "freight_train", "test_tube"]
    folders.fill(".", names, count=5)
    assert load(folders).classes == tuple(names)


def test_what_may_be_a_class_or_a_split(folders):
    folders.fill("train", ["old", "new"])
    folders.fill(".", ["bus", "car"])
    assert "if train is a class, rename it" in refusal(folders)


def test_splits_inside_of_classes(folders):
    for name in ("cat", "dog"):
        folders.fill(f"{name}/train", count=2)
        folders.fill(f"{name}/test", count=1)
    assert "cat would be a class, but it has test and train in it" in refusal(folders)


@pytest.mark.parametrize("names", [("train_a", "test_b"), ("my-train", "your-train")])
def test_splits_with_names_of_their_own(folders, names):
    for name in names:
        folders.fill(name, ["cat", "dog"])
    assert "hold the same folders: cat and dog. So 2 of 2" in refusal(folders)


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
    splits = load(folders, same_subfolders=True)
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
    splits = load(folders)
    assert splits.classes == tuple(sorted(tree))
    assert splits.notes == (divided(folders),)


def test_folders_beside_the_splits_are_said(folders):
    for name in ("train", "test", "annotations"):
        folders.fill(name, count=1)
    assert load(folders).notes == ("left out, beside the splits: annotations",)


@pytest.mark.parametrize("place", ["test/0001.png", "test/unknown/0001.png", "test/images/1.png"])
def test_test_images_without_labels(folders, place):
    folders.fill("train", count=2)
    folders.write(place)
    assert "There is nothing to test on: test has no class folders" in refusal(folders)
    folders.fill("val", count=1)
    splits = load(folders)
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
    splits = load(folders)
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
    splits = load(folders)
    assert splits.classes == ("cafz", composed, "dog")
    assert contents(splits, folders.root)["test"][composed] == [f"test/{decomposed}/000.png"]
    shutil.move(folders.root / "train" / composed, folders.root / "train" / decomposed)
    assert load(folders).classes == splits.classes
    folders.fill("train", [composed])
    assert "have the same name" in refusal(folders)


def test_a_class_name_that_is_not_utf_8(folders):
    folders.fill(".", ["cat", "dog"])
    os.rename(os.fsencode(folders.root / "cat"), os.fsencode(folders.root) + b"/caf\xe9")
    assert r"caf\udce9 is not UTF-8" in refusal(folders)


def test_a_file_name_that_is_not_utf_8(folders):
    folders.fill(".", ["cat", "dog"], count=5)
    at = os.fsencode(folders.root) + b"/cat/"
    os.rename(at + b"000.png", at + b"caf\xe9.png")
    settings = {"root": folders.root, "workers": 0}
    assert open_named("imagefolder", **settings).info.train_size == 8
    (folders.root / os.fsdecode(b"cat/caf\xe9.png")).write_bytes(b"broken")
    with pytest.raises(UserError, match=r"cat/caf\\udce9\.png") as error:
        open_named("imagefolder", **settings)
    str(error.value).encode()


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_above_is_not_followed(folders, target):
    folders.fill(".", count=4)
    (folders.root / "a/again").symlink_to(target)
    splits = load(folders)
    found = contents(splits, folders.root)
    assert sorted(found["train"]["a"] + found["test"]["a"]) == [f"a/00{n}.png" for n in range(4)]
    assert "1 there already, by a link (a/again)" in splits.notes[0]


def test_each_file_counts_once(folders):
    folders.fill("train", count=2)
    folders.fill("elsewhere", ["more"], count=3)
    inside = folders.root / "train/a"
    (inside / "one").symlink_to("../../elsewhere/more")
    (inside / "two").symlink_to("../../elsewhere/more")
    (inside / "again.png").symlink_to("000.png")
    (inside / "third.png").symlink_to("../../elsewhere/more/000.png")
    found = scan(folders.root / "train")
    assert np.bincount(found.split.labels).tolist() == [5, 2]
    assert found.notes == (
        f"left out of {folders.root / 'train'}: 3 there already, by a link "
        "(a/again.png, a/third.png, a/two)",
    )


def test_links_that_multiply(folders):
    folders.fill(".", count=1)
    at = folders.root / "a"
    for depth in range(40):
        (folders.root.parent / f"{depth}").mkdir()
        for name in ("x", "y"):
            (at / name).symlink_to(folders.root.parent / f"{depth}")
        at = folders.root.parent / f"{depth}"
    assert len(scan(folders.root).split) == 2


def test_a_file_in_two_classes(folders):
    folders.fill(".")
    (folders.root / "b/linked.png").symlink_to("../a/003.png")
    assert "b/linked.png is the same file as an image of the class 'a'" in refusal(folders)


def test_a_class_folder_may_be_a_link(folders):
    folders.fill("store", count=2)
    (folders.root / "photos").mkdir()
    for name in "ab":
        (folders.root / "photos" / name).symlink_to(f"../store/{name}")
    found = scan(folders.root / "photos")
    assert found.classes == ("a", "b")
    assert found.split.labels.tolist() == [0, 0, 1, 1]


def test_what_is_no_image_is_counted_and_named(folders):
    folders.fill(".", count=4)
    for name in ("a/notes.txt", "a/one.csv", "labels.csv", "b/x/y.md"):
        folders.root.joinpath(name).parent.mkdir(exist_ok=True)
        folders.root.joinpath(name).write_text("text")
    folders.write("stray.png")
    os.mkfifo(folders.root / "a/pipe.png")
    (folders.root / "a/gone.png").mkdir()
    splits = load(folders)
    assert len(splits.train) + len(splits.test) == 8
    assert splits.notes == (
        f"left out of {folders.root}: 4 of no image format (labels.csv, a/notes.txt, a/one.csv, "
        "...), 1 outside class folders (stray.png), 1 a folder that is called as an image "
        "(a/gone.png), 1 no regular file (a/pipe.png)",
        divided(folders),
    )


def test_a_folder_that_cannot_be_read(folders, monkeypatch):
    folders.fill("train")
    folders.fill("test")
    closed = str(folders.root / "test/b")
    real = os.scandir

    def scandir(path):
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "The folder test/b cannot be read: Permission denied" in refusal(folders)


def test_class_folders_are_no_splits(folders):
    folders.fill(".", ["cat", "dog"])
    assert find_split_folders(folders.root) == {}


def test_a_run_says_what_it_trains_on(folders, kdzoo):
    folders.fill("train", ["bee", "cow", "dog", "emu"], count=4)
    folders.fill("valid", ["bee", "cow", "dog"], count=2)
    ran = kdzoo(
        "run", "method=independent", "backbone=resnet8", "batch_size=8", "training.steps=1",
        "device=cpu", "dataset=imagefolder", f"dataset.root={folders.root}",
        "dataset.image_size=8", f"out={folders.root.parent / 'runs'}",
    )  # fmt: skip
    assert ran.code == 0
    said = ran.out + ran.err
    assert "imagefolder: 4 classes (bee, cow, dog, ...), 16 + 6 images" in said
    assert "valid is used as the test split" in said
    assert "the test split has no image of 1 of the 4 classes (emu)" in said


def test_class_names_that_differ_in_blanks(folders):
    folders.fill(".", ["cat", "cat ", "dog"])
    assert "'cat' and 'cat ' have the same name" in refusal(folders)


def test_class_names_that_differ_in_capitals(folders):
    folders.fill(".", ["Cat", "cat", "dog"], count=5)
    splits = load(folders)
    assert splits.classes == ("Cat", "cat", "dog")
    alike = "classes whose names differ in capitals alone: 'Cat' and 'cat'"
    assert splits.notes == (alike, divided(folders))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_the_only_image_of_a_class_is_trained_on(folders, fraction):
    folders.fill(".", ["ant", "bee"], count=9)
    folders.fill(".", ["cow", "dog", "emu"], count=1)
    splits = load(folders, test_fraction=fraction)
    found = contents(splits, folders.root)
    assert all(found["train"][name] == [f"{name}/000.png"] for name in ("cow", "dog", "emu"))
    assert set(found["test"]) == {"ant", "bee"}


def test_too_few_images_to_divide(folders):
    folders.fill(".", ["ant", "bee"], count=1)
    assert "2 images of 2 classes, too few to set dataset.test_fraction=0.2" in refusal(folders)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("photos.zip", "Unpack photos.zip first"),
        ("labels.csv", r"Labels are not read from files (labels.csv)"),
        ("photo.png", "Each class needs one, with its images."),
    ],
)
def test_what_lies_where_class_folders_should_is_named(folders, file, words):
    folders.write("1.png")
    (folders.root / file).write_bytes(b"")
    assert words in refusal(folders)


def test_a_file_in_place_of_the_folder(folders):
    folders.root = folders.root / "photos.zip"
    folders.root.parent.mkdir()
    folders.root.write_bytes(b"PK")
    assert "it is a file. Unpack it, and name the folder" in refusal(folders)


def test_links_to_nowhere_beside_class_folders(folders):
    folders.fill(".")
    (folders.root / "c").symlink_to("gone")
    lost = f"left out of {folders.root}: 1 a link to nowhere (c)"
    assert load(folders).notes == (lost, divided(folders))
