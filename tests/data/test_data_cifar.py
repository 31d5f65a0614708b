"""CIFAR archives: small ones in the authors' format, under checksums of their own."""

import hashlib
import pickle
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from data_helpers import labels, open_named, pixels
from torchvision.datasets import CIFAR10, CIFAR100

from kdzoo.errors import UserError

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
    assert [path.suffix for path in (tmp_path / "data").iterdir()] in ([], [".lock"])


def test_no_download_where_none_is_wanted(make, tmp_path):
    make("cifar10")
    with pytest.raises(UserError, match="There is no cifar-10-python"):
        open_named("cifar10", root=tmp_path / "data", download=False)


def test_a_download_that_fails_its_checksum_leaves_nothing(make, tmp_path, monkeypatch):
    monkeypatch.setattr(make("cifar10").source, "tgz_md5", "0" * 32)
    with pytest.raises(UserError, match="corrupted"):
        open_named("cifar10", root=tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] in ([], [".lock"])


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
