"""What stands for a data set: the data, and not where they lie."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from kdzoo import registry
from kdzoo.data import ArrayImages, Split, Splits, data_from
from kdzoo.data.fingerprint import data_fingerprint


def _folder(root, classes=("bee", "cow"), images=3):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for index in range(images):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


def _loaded(root):
    dataset = registry.datasets.get("imagefolder")
    return data_fingerprint(dataset(dataset.Config(name="imagefolder", root=root)).load())


def test_copies_of_a_folder_are_the_same_data(tmp_path, monkeypatch):
    here = _folder(tmp_path / "d")
    shutil.copytree(here, tmp_path / "copy")
    os.symlink(here, tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    paths = ["d", "./d", here, "link", f"../{tmp_path.name}/d", "copy"]
    assert len({repr(_loaded(path)) for path in paths}) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: (d / "train/bee/0.png").rename(d / "train/cow/9.png"), "other labels in train"),
        (lambda d: (d / "test/cow/1.png").unlink(), "6 + 5 samples of 2 classes"),
        (
            lambda d: shutil.copy(d / "train/bee/0.png", d / "test/bee/0.png"),
            "other images in test",
        ),
        (
            lambda d: [(d / s / "cow").rename(d / s / "dog") for s in ("train", "test")],
            "other names of classes",
        ),
    ],
)
def test_changed_data_are_others_and_the_change_is_named(tmp_path, change, said):
    before = _loaded(_folder(tmp_path))
    change(tmp_path)
    after = _loaded(tmp_path)
    assert before.difference(after) == said
    assert before.difference(before) is None


def test_a_flipped_bit_in_a_file_of_the_same_size_is_seen(tmp_path):
    before = _loaded(_folder(tmp_path))
    file = tmp_path / "train" / "bee" / "1.png"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert before.difference(_loaded(tmp_path)) == "other images in train"


def test_one_pixel_and_one_label_of_an_array_count():
    images = np.random.default_rng(0).integers(0, 256, (500, 4, 4, 3), dtype=np.uint8)
    labels = np.arange(500) % 3

    def fingerprint(images, labels):
        split = Split(ArrayImages(images), labels)
        return data_fingerprint(Splits(split, split, classes=["a", "b", "c"]))

    pixel, label = images.copy(), labels.copy()
    pixel[333, 1, 2, 0] ^= 1
    label[333] = (label[333] + 1) % 3
    before = fingerprint(images, labels)
    assert before == fingerprint(images.copy(), labels.astype(np.int32))
    assert before.difference(fingerprint(pixel, labels)) == "other images in train"
    assert before.difference(fingerprint(images, label)) == "other labels in train"


def _tensors(seed=0):
    images = torch.randint(
        0, 256, (60, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return TensorDataset(images, torch.arange(60) % 3)


def test_folds_of_one_data_set_are_different_data():
    whole = _tensors()
    folds = []
    for fold in range(3):
        test = set(range(20 * fold, 20 * fold + 20))
        train = [position for position in range(60) if position not in test]
        folds.append(data_from(Subset(whole, train), Subset(whole, sorted(test))))
    found = [data_fingerprint(fold.load()) for fold in folds]
    assert len({repr(one) for one in found}) == 3
    assert found[0] == data_fingerprint(folds[0].load())


def test_given_statistics_are_part_of_the_data():
    whole = _tensors()
    plain, given = (
        data_fingerprint(data_from(whole, whole, mean=mean, std=std).load())
        for mean, std in ((None, None), ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))
    )
    assert plain.difference(given) == "another mean or std"


class Jittered(TorchDataset):
    """Samples with noise from a random generator."""

    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return 30

    def __getitem__(self, position):
        return self.draw().expand(3, 4, 4), position % 3


def test_what_draws_from_the_global_random_state_is_the_same_data_and_leaves_it_as_it_was():
    dataset = Jittered(lambda: torch.rand(1))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    loaded = data_from(dataset, dataset).load()
    torch.manual_seed(3)
    first = data_fingerprint(loaded)
    assert torch.equal(torch.rand(1), expected)
    assert first == data_fingerprint(loaded)
    assert first.splits["train"].images is not None


def test_what_draws_from_a_generator_of_its_own_is_known_by_its_labels_alone():
    generator = torch.Generator().manual_seed(0)
    dataset = Jittered(lambda: torch.rand(1, generator=generator))
    first, second = (data_fingerprint(data_from(dataset, dataset).load()) for _ in range(2))
    assert first == second
    assert first.splits["train"].images is None
