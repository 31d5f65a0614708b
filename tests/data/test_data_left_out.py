"""What in a folder of images is no image of a class: counted, named or refused."""

import os

import pytest
from data_helpers import divided, load_folder, open_named, refusal

from kdzoo.errors import UserError


def test_folders_beside_the_splits_are_said(folders):
    for name in ("train", "test", "annotations"):
        folders.fill(name, count=1)
    assert load_folder(folders).notes == ("left out, beside the splits: annotations",)


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


def test_what_is_no_image_is_counted_and_named(folders):
    folders.fill(".", count=4)
    for name in ("a/notes.txt", "a/one.csv", "labels.csv", "b/x/y.md"):
        folders.root.joinpath(name).parent.mkdir(exist_ok=True)
        folders.root.joinpath(name).write_text("text")
    folders.write("stray.png")
    os.mkfifo(folders.root / "a/pipe.png")
    (folders.root / "a/gone.png").mkdir()
    splits = load_folder(folders)
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
