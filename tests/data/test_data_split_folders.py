"""Which folder holds which split, by its name and its place."""

import pytest
from data_helpers import contents, load_folder, refusal

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
    assert contents(load_folder(folders), folders.root) == {
        "train": {k: [f"{train}/{k}/00{n}.png" for n in range(3)] for k in ("cat", "dog")},
        "test": {k: [f"{test}/{k}/000.png"] for k in ("cat", "dog")},
    }
    folders.fill(val, ["cat", "dog"], count=2)
    found = contents(load_folder(folders), folders.root)
    assert found["val"] == {k: [f"{val}/{k}/00{n}.png" for n in range(2)] for k in ("cat", "dog")}
    assert found["test"] == {k: [f"{test}/{k}/000.png"] for k in ("cat", "dog")}


@pytest.mark.parametrize("name", ["val", "VALID", "validation", "validation_set", "dev"])
def test_val_is_the_test_split_where_there_is_no_other(folders, name):
    folders.fill("train", count=2)
    folders.fill(name, count=1)
    splits = load_folder(folders)
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


@pytest.mark.parametrize("inside", ["photos", "images/photos", "data"])
def test_a_folder_in_a_folder_of_an_archives_name(folders, inside):
    folders.fill(f"{inside}/train", ["cat", "dog"], count=2)
    folders.fill(f"{inside}/test", ["cat", "dog"], count=1)
    folders.write("__MACOSX/cat/._001.png")
    folders.write(".cache/one.png")
    (folders.root / "readme.txt").write_text("unpacked")
    splits = load_folder(folders)
    assert contents(splits, folders.root)["test"]["dog"] == [f"{inside}/test/dog/000.png"]
    assert splits.notes[0] == f"the data are those in {folders.root / inside}"


def test_class_folders_in_a_folder_of_an_archives_name(folders):
    folders.fill("photos", ["cat", "dog"], count=10)
    splits = load_folder(folders)
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.test)) == (16, 4)


def test_splits_in_folders_of_their_own_names(folders):
    folders.fill("seg_train/seg_train", ["cat", "dog"], count=2)
    folders.fill("seg_test/seg_test", ["cat", "dog"], count=1)
    folders.write("seg_pred/seg_pred/1.png")
    splits = load_folder(folders)
    assert contents(splits, folders.root)["test"]["cat"] == ["seg_test/seg_test/cat/000.png"]
    assert splits.notes == (
        f"the train images are those in {folders.root / 'seg_train/seg_train'}",
        f"the test images are those in {folders.root / 'seg_test/seg_test'}",
        "left out, beside the splits: seg_pred",
    )


@pytest.mark.parametrize("names", [("train_a", "test_b"), ("my-train", "your-train")])
def test_splits_with_names_of_their_own(folders, names):
    for name in names:
        folders.fill(name, ["cat", "dog"])
    assert "hold the same folders: cat and dog. So 2 of 2" in refusal(folders)
