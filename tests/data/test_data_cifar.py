"""CIFAR: small archives in the authors' format and small trees, under figures of their own."""

import hashlib
import pickle
import shutil
import tarfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from data_helpers import labels, load_named, open_named, pixels
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from kdzoo.errors import UserError
from kdzoo.registry import datasets

KINDS = pytest.mark.parametrize("name", ["cifar10", "cifar100"])
COUNT = 200


class Archive:
    """Writes an archive, and makes torchvision expect it."""

    def __init__(self, folder, address, monkeypatch, name):
        self.folder = folder
        self.source = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
        self.classes = {"cifar10": 10, "cifar100": 100}[name]
        self.key = {"cifar10": "labels", "cifar100": "fine_labels"}[name]
        self._random = np.random.default_rng(0)
        self.images, self.labels = {}, {}
        files = folder / "made" / self.source.base_folder
        files.mkdir(parents=True)
        for kind in ("train_list", "test_list"):
            listed = [
                [file, self._write(files / file, self._batch(file))]
                for file, _ in getattr(self.source, kind)
            ]
            monkeypatch.setattr(self.source, kind, listed)
        meta = self.source.meta
        names = {meta["key"]: [f"class {label}" for label in range(self.classes)]}
        md5 = self._write(files / meta["filename"], names)
        monkeypatch.setattr(self.source, "meta", {**meta, "md5": md5})
        self.path = folder / "made" / self.source.filename
        with tarfile.open(self.path, "w:gz") as archive:
            archive.add(files, self.source.base_folder)
        md5 = hashlib.md5(self.path.read_bytes()).hexdigest()
        monkeypatch.setattr(self.source, "tgz_md5", md5)
        monkeypatch.setattr(self.source, "url", f"{address}/{self.source.filename}")

    def _batch(self, file):
        self.images[file] = self._random.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
        self.labels[file] = (np.arange(COUNT) % self.classes).tolist()
        return {"data": self.images[file], self.key: self.labels[file]}

    @staticmethod
    def _write(path, value):
        path.write_bytes(pickle.dumps(value))
        return hashlib.md5(path.read_bytes()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes an archive that a server on this machine hands out."""
    (tmp_path / "made").mkdir()
    handler = partial(Quiet, directory=tmp_path / "made")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield lambda name: Archive(tmp_path, address, monkeypatch, name)
        server.shutdown()


@KINDS
def test_the_archive_is_downloaded_unpacked_and_read(make, name, tmp_path):
    archive = make(name)
    data = open_named(name, root=tmp_path / "data")
    train = [file for file, _ in archive.source.train_list]
    test = archive.source.test_list[0][0]
    assert data.info.classes == tuple(f"class {label}" for label in range(archive.classes))
    assert (data.info.train_size, data.info.test_size) == (COUNT * len(train), COUNT)
    for split, files in (("train", train), ("test", [test])):
        stored = np.concatenate([archive.images[file] for file in files])
        stored = stored.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        assert (pixels(data, split) == stored).all()
        assert (
            labels(data, split) == np.concatenate([archive.labels[file] for file in files])
        ).all()
    left = [path.name for path in (tmp_path / "data").iterdir() if path.suffix != ".lock"]
    assert left == [archive.source.base_folder]


@KINDS
def test_a_copy_on_disk_needs_no_network(make, name, tmp_path, monkeypatch):
    archive = make(name)
    monkeypatch.setattr(archive.source, "url", "http://127.0.0.1:9/nothing")
    assert open_named(name, root=archive.path.parent).info.test_size == COUNT
    (tmp_path / "archive only").mkdir()
    archive.path.rename(tmp_path / "archive only" / archive.source.filename)
    assert open_named(name, root=tmp_path / "archive only").info.test_size == COUNT


def test_no_network_says_what_to_do(make, tmp_path, monkeypatch):
    monkeypatch.setattr(make("cifar10").source, "url", "http://127.0.0.1:9/nothing")
    with pytest.raises(UserError, match=r"cannot be downloaded.*Put cifar-10-python.tar.gz"):
        open_named("cifar10", root=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_no_folder_is_left_behind_but_one_that_was_there(make, tmp_path, monkeypatch):
    monkeypatch.setattr(make("cifar10").source, "url", "http://127.0.0.1:9/nothing")
    for root in ("here", "here/data", "new/data"):
        (tmp_path / "here").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="cannot be downloaded"):
            open_named("cifar10", root=tmp_path / root)
    assert (tmp_path / "here").is_dir()
    assert [path.suffix for path in (tmp_path / "here").iterdir()] in ([], [".lock"])
    assert not (tmp_path / "new").exists()


def test_no_download_where_none_is_wanted(make, tmp_path):
    make("cifar10")
    with pytest.raises(UserError, match="There is no cifar-10-python"):
        open_named("cifar10", root=tmp_path / "data", download=False)


def test_a_download_that_fails_its_checksum_leaves_nothing(make, tmp_path, monkeypatch):
    monkeypatch.setattr(make("cifar10").source, "tgz_md5", "0" * 32)
    with pytest.raises(UserError, match="corrupted"):
        open_named("cifar10", root=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_an_archive_that_fails_its_checksum_is_named_and_kept(make, tmp_path):
    archive = make("cifar10")
    truncated = tmp_path / "data" / archive.source.filename
    truncated.parent.mkdir()
    truncated.write_bytes(archive.path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz fails its checksum"):
        open_named("cifar10", root=tmp_path / "data")
    assert truncated.stat().st_size == archive.path.stat().st_size - 100


def test_a_folder_that_cannot_be_written_is_named(make, tmp_path):
    make("cifar10")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/data.*dataset\.root=DIR"):
        open_named("cifar10", root=tmp_path / "file" / "data")


def test_a_file_that_fails_its_checksum_is_named_and_not_unpickled(make):
    archive = make("cifar10")
    batch = archive.path.parent / archive.source.base_folder / "data_batch_3"
    batch.write_bytes(pickle.dumps({"data": "other"}))
    with pytest.raises(UserError, match="data_batch_3 is missing or fails its checksum"):
        open_named("cifar10", root=archive.path.parent)


def test_published_mean_and_std_are_used(make):
    root = make("cifar100").path.parent
    assert open_named("cifar100", root=root).info.mean == (0.5071, 0.4865, 0.4409)


class Tree:
    """Writes an archive's images into class folders, and makes kdzoo expect so many."""

    def __init__(self, archive, root, monkeypatch, name):
        self.root, self.name = root, name
        kind = datasets.get(name)
        self.classes = kind.published.classes
        self.files = {
            "train": [file for file, _ in archive.source.train_list],
            "test": [file for file, _ in archive.source.test_list],
        }
        per_class, means = {}, {}
        for split, files in self.files.items():
            images = np.concatenate([archive.images[file] for file in files])
            images = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            targets = np.concatenate([archive.labels[file] for file in files])
            per_class[split] = len(images) // len(self.classes)
            means[split] = tuple((images / 255).mean((0, 1, 2)).round(8).tolist())
            for number, (image, label) in enumerate(zip(images, targets, strict=True)):
                folder = root / split / self.classes[label]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{number:04}.png")
        published = replace(kind.published, per_class=per_class, means=means)
        monkeypatch.setattr(kind, "published", published)

    def open(self, **settings):
        return open_named(self.name, root=self.root, workers=0, **settings)

    def images(self, split="train"):
        return sorted((self.root / split).glob("*/*.png"))

    def rename(self, old, new):
        for split in ("train", "test"):
            (self.root / split / old).rename(self.root / split / new)


@pytest.fixture
def make_tree(make, tmp_path, monkeypatch):
    def made(name):
        archive = make(name)
        monkeypatch.setattr(archive.source, "url", "http://127.0.0.1:9/nothing")
        return Tree(archive, tmp_path / "tree", monkeypatch, name)

    return made


def samples(data, split):
    """Labels and pixels as bytes, in an order that does not depend on the data set's."""
    rows = zip(labels(data, split), pixels(data, split), strict=True)
    return sorted((int(label), image.tobytes()) for label, image in rows)


@KINDS
def test_class_folders_hold_the_samples_of_the_archive(make_tree, name, tmp_path):
    tree = make_tree(name)
    data = tree.open()
    archive = open_named(name, root=tmp_path / "made")
    for split in ("train", "test"):
        assert samples(data, split) == samples(archive, split)
    assert data.info == replace(archive.info, classes=tree.classes)
    assert sorted(path.name for path in tree.root.iterdir()) == ["test", "train"]


@KINDS
def test_classes_and_counts_are_those_of_cifar(name):
    published = datasets.get(name).published
    classes = {"cifar10": 10, "cifar100": 100}[name]
    assert len(set(published.classes)) == classes
    assert list(published.classes) == sorted(published.classes)
    assert {split: classes * n for split, n in published.per_class.items()} == {
        "train": 50_000,
        "test": 10_000,
    }
    assert published.means["train"] == pytest.approx(datasets.get(name).mean, abs=1e-4)


def test_the_spelling_of_class_folders_changes_neither_labels_nor_order(make_tree):
    tree = make_tree("cifar100")
    usual = tree.open()
    tree.rename("maple_tree", "Maple Tree")
    tree.rename("aquarium_fish", "aquarium-fish")
    tree.rename("worm", "WORM")
    data = tree.open()
    assert data.info == usual.info
    assert (labels(data, "train") == labels(usual, "train")).all()
    assert (pixels(data, "train") == pixels(usual, "train")).all()


def test_what_was_checked_is_said(make_tree):
    notes = load_named("cifar100", root=make_tree("cifar100").root).notes
    assert "100 classes, 2 + 2 images a class and the mean" in notes[0]


def test_the_archive_goes_before_class_folders(make_tree, tmp_path):
    tree = make_tree("cifar100")
    shutil.copytree(tree.root, tmp_path / "made", dirs_exist_ok=True)
    assert open_named("cifar100", root=tmp_path / "made").info.classes[0] == "class 0"


def test_other_classes_are_refused(make_tree):
    tree = make_tree("cifar100")
    with pytest.raises(UserError, match=r"not hold CIFAR-10 .*without folders: airplane, .*5 more"):
        open_named("cifar10", root=tree.root)


def test_a_class_too_few_or_in_two_spellings_is_named(make_tree):
    tree = make_tree("cifar100")
    for split in ("train", "test"):
        (tree.root / split / "oak tree").mkdir()
        for path in (tree.root / split / "oak_tree").iterdir():
            shutil.copy(path, tree.root / split / "oak tree")
    with pytest.raises(UserError, match=r"\(unknown or twice: oak tree, oak_tree\)"):
        tree.open()
    for split in ("train", "test"):
        shutil.rmtree(tree.root / split / "oak tree")
        shutil.rmtree(tree.root / split / "worm")
    with pytest.raises(UserError, match=r"\(without folders: worm\).*dataset=imagefolder"):
        tree.open()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_image_is_noticed(make_tree, split):
    tree = make_tree("cifar100")
    tree.images(split)[0].unlink()
    with pytest.raises(UserError, match=f"a class has 2 {split} images, but apple has 1"):
        tree.open()


def test_a_tree_without_test_images_is_refused(make_tree):
    tree = make_tree("cifar100")
    shutil.rmtree(tree.root / "test")
    with pytest.raises(UserError, match=r"CIFAR-100.*There is no folder .*test"):
        tree.open()


def test_images_of_another_size_are_refused(make_tree):
    tree = make_tree("cifar100")
    for path in tree.images():
        Image.open(path).resize((16, 16)).save(path)
    with pytest.raises(UserError, match="16x16 pixels, not 32x32"):
        tree.open(image_size=32)


@pytest.mark.parametrize("split", ["train", "test"])
def test_changed_pixels_are_refused(make_tree, split):
    tree = make_tree("cifar100")
    path = tree.images(split)[0]
    image = np.array(Image.open(path))
    image[0, 0, 1] ^= 16
    Image.fromarray(image).save(path)
    with pytest.raises(UserError, match=f"the {split} images have the mean .*JPEG"):
        tree.open()


def test_an_unreadable_image_is_refused_even_where_such_are_skipped(make_tree):
    tree = make_tree("cifar100")
    tree.images()[3].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"not hold CIFAR-100.*Cannot read.*\.png"):
        tree.open(on_error="skip")
