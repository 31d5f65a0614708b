"""Links among the folders of images: followed, but each file counts once."""

import numpy as np
import pytest
from data_helpers import contents, divided, load_folder, refusal

from kdzoo.data.folders import scan


def test_a_link_to_a_split_beside_it_is_the_same_split(folders):
    folders.fill("train", count=2)
    folders.fill("test", count=1)
    (folders.root / "training").symlink_to("train")
    assert len(load_folder(folders).train) == 4


def test_a_folder_that_leads_to_itself_is_not_followed_down_for_ever(folders):
    folders.root.mkdir()
    (folders.root / "again").symlink_to(".")
    assert "again holds no images" in refusal(folders)


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_above_is_not_followed(folders, target):
    folders.fill(".", count=4)
    (folders.root / "a/again").symlink_to(target)
    splits = load_folder(folders)
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


def test_links_to_nowhere_beside_class_folders(folders):
    folders.fill(".")
    (folders.root / "c").symlink_to("gone")
    lost = f"left out of {folders.root}: 1 a link to nowhere (c)"
    assert load_folder(folders).notes == (lost, divided(folders))
