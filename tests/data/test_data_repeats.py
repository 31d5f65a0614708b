"""Images that are in two splits: found by their content and said when a run begins."""

import shutil

import numpy as np
import pytest
import torch
from data_helpers import open_named, open_own
from PIL import Image

from kdzoo.data import data_from
from kdzoo.data.images import ArrayImages
from kdzoo.data.repeats import LOOKED_FOR, find_repeats


@pytest.fixture
def tree(folders):
    """Of 8 test images, three are training images too: a copy, a link, and one saved anew."""
    folders.fill("train", count=10)
    folders.fill("test", count=4)
    train, test = folders.root / "train", folders.root / "test"
    shutil.copy(train / "a/004.png", test / "a/002.png")
    (test / "b/000.png").unlink()
    (test / "b/000.png").symlink_to(train / "b/009.png")
    Image.open(train / "b/003.png").save(test / "b/other.bmp")
    (test / "b/001.png").unlink()
    return folders.root


def test_decoded_images_are_compared_by_their_pixels(tree):
    data = open_named("imagefolder", root=tree, workers=0)
    assert data.info.test_repeats == 3
    assert data.notes == [
        f"3 of 8 test images are also in the training set, such as the image {tree}/test/a/002.png,"
        f" which is the same as the image {tree}/train/a/004.png"
    ]


def test_images_in_files_are_compared_by_their_bytes(tree):
    data = open_named("imagefolder", root=tree, workers=0, pipeline="loader")
    assert data.info.test_repeats == 2
    assert data.notes[0].startswith("2 of 8 test images are also in the training set")


def test_of_many_files_some_are_looked_for(folders, monkeypatch):
    monkeypatch.setattr("kdzoo.data.repeats.LOOKED_FOR", 5)
    folders.fill("train", count=10)
    shutil.copytree(folders.root / "train", folders.root / "test")
    data = open_named("imagefolder", root=folders.root, workers=0, pipeline="loader")
    assert data.notes[0].startswith("5 of 5 (of 20, evenly spaced) test images are also in the")
    assert LOOKED_FOR == 1000


def test_nothing_is_said_where_nothing_repeats(folders):
    folders.fill("train")
    folders.fill("test")
    folders.fill("val")
    (folders.root / "val/a/003.png").write_bytes((folders.root / "test/a/001.png").read_bytes())
    data = open_named("imagefolder", root=folders.root, workers=0)
    assert (data.info.test_repeats, data.notes) == (0, [])
    shutil.copy(folders.root / "train/a/003.png", folders.root / "val/b/003.png")
    data = open_named("imagefolder", root=folders.root, workers=0)
    assert data.info.test_repeats == 0
    assert data.notes[0].startswith("1 of 12 val images are also in the training set")


def test_only_training_images_that_take_part_count(tree):
    counts = {
        open_named(
            "imagefolder", root=tree, workers=0, train_subset=4, seed=seed, image_size=8
        ).info.test_repeats
        for seed in range(8)
    }
    assert counts <= {0, 1, 2, 3}
    assert min(counts) < 3


def test_a_torch_data_set():
    images = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8)
    mine = torch.utils.data.TensorDataset(images, torch.arange(30) % 3)
    test = torch.utils.data.Subset(mine, [3, 9, 3])
    assert open_own(data_from(mine, test)).info.test_repeats == 3
    unread = open_own(data_from(mine, test, pipeline="loader", workers=0))
    assert (unread.info.test_repeats, unread.notes) == (None, [])


def test_the_digits_and_their_test_split_share_none():
    assert open_named("digits").info.test_repeats == 0


def test_images_that_are_alike_in_one_row_are_told_apart():
    random = np.random.default_rng(0)
    array = np.zeros((6, 8, 8, 3), np.uint8)
    array[:, :3] = random.integers(0, 256, (6, 3, 8, 3))
    array[5] = array[1]
    found = find_repeats(ArrayImages(array[3:]), ArrayImages(array[:3]))
    assert found is not None
    assert (found.pairs, found.looked_for) == ([(2, 1)], 3)
    assert find_repeats(ArrayImages(array), ArrayImages(array[:, :4])) is None
