"""Decoded images on disk: used where they are right, built where not, never left half done."""

import multiprocessing
import os
import shutil
from threading import Thread

import numpy as np
import pytest
from data_helpers import open_named, pixels
from filelock import FileLock
from full_disk import full_disk
from PIL import Image

from kdzoo.data import locks
from kdzoo.errors import UserError


@pytest.fixture
def root(folders):
    folders.fill("train", count=10)
    folders.fill("test", count=2)
    return folders.root


def open_folder(root, **settings):
    return open_named("imagefolder", root=root, **settings)


FOUND_OUT = (".index", ".range", ".mean", ".repeats")
"""What is kept besides decoded images."""


def entries(cache):
    """The finished entries, and whatever else lies there apart from the locks."""
    found = [path for path in cache.iterdir() if path.suffix != ".lock"]
    others = [path for path in found if path.suffix not in ("", *FOUND_OUT)]
    return [path for path in found if not path.suffix], others


@pytest.fixture
def undecodable(monkeypatch):
    """From when it is called on, no images can be decoded."""

    def fail(*arguments, **settings):
        raise AssertionError("nothing should be decoded")

    return lambda: monkeypatch.setattr("kdzoo.data.preload.decode", fail)


def test_the_second_start_reads_the_cache(root, cache, undecodable):
    first = pixels(open_folder(root), "train")
    finished, others = entries(cache)
    assert (len(finished), others) == (2, [])
    undecodable()
    assert (pixels(open_folder(root), "train") == first).all()


def test_a_changed_file_is_read_again(root, folders):
    first = pixels(open_folder(root), "train")
    new = folders.write("train/a/000.png")
    os.utime(root / "train/a/000.png", ns=(1, 1))
    second = pixels(open_folder(root), "train")
    assert (second[0] == new).all()
    assert (second[1:] == first[1:]).all()


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_read_again(root, folders):
    path = root / "train/a/000.png"
    open_folder(root)
    stamp = path.stat()
    with Image.open(path) as image:
        other = Image.fromarray(255 - np.asarray(image))
    other.save(path)
    path.write_bytes(path.read_bytes()[: stamp.st_size].ljust(stamp.st_size, b"\0"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    assert (pixels(open_folder(root), "train")[0] == np.asarray(other)).all()


def test_folders_of_one_name_elsewhere_have_entries_of_their_own(
    root, cache, monkeypatch, tmp_path
):
    for number in range(2):
        place = tmp_path / str(number)
        shutil.copytree(root, place / "photos", copy_function=os.link)
        monkeypatch.chdir(place)
        open_folder("photos")
    assert len(entries(cache)[0]) == 4


def test_a_renamed_file_is_noticed(root):
    first = pixels(open_folder(root), "train")
    (root / "train/a/000.png").rename(root / "train/a/999.png")
    second = pixels(open_folder(root), "train")
    assert (second[9] == first[0]).all()
    assert (second[:9] == first[1:10]).all()


def test_another_size_has_an_entry_of_its_own(root, cache):
    open_folder(root)
    assert open_folder(root, image_size=4).info.input_size == (3, 4, 4)
    assert open_folder(root).info.input_size == (3, 8, 8)
    assert len(entries(cache)[0]) == 4


def test_augmenting_leaves_the_cache_as_it_is(root, cache):
    data = open_folder(root, augment={"cutout": 4, "resized_crop": 0.5})
    first = pixels(data, "train")
    before = {path: (path / "images.npy").read_bytes() for path in entries(cache)[0]}
    for epoch in range(2):
        list(data.train_batches(epoch))
    assert (pixels(data, "train") == first).all()
    assert before == {path: (path / "images.npy").read_bytes() for path in before}


def test_the_cache_can_be_elsewhere(root, tmp_path, cache):
    open_folder(root, cache=tmp_path / "elsewhere")
    assert len(entries(tmp_path / "elsewhere")[0]) == 2
    assert not cache.exists()


def test_a_full_disk_leaves_no_broken_entry_and_the_run_goes_on(root, cache, caplog):
    with full_disk():
        data = open_folder(root)
    assert data.info.train_size == 20
    assert "cannot be cached" in caplog.text
    assert "dataset.cache=" in caplog.text
    finished, others = entries(cache)
    assert others == []
    assert [len(np.load(path / "images.npy")) for path in finished] == [4], "the small test split"
    with Image.open(root / "train/a/000.png") as image:
        assert pixels(data, "train")[0].tobytes() == image.tobytes()


def test_a_folder_that_cannot_be_written_is_no_obstacle(root, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert open_folder(root, cache=tmp_path / "file" / "cache").info.train_size == 20
    assert caplog.text.count("cannot be cached") == 2


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _in_a_folder_s_place(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "truncated": lambda entry: os.truncate(entry / "images.npy", 300),
    "empty": lambda entry: os.truncate(entry / "images.npy", 0),
    "no array": lambda entry: (entry / "images.npy").write_bytes(b"something else"),
    "a pixel": lambda entry: _flip(entry / "images.npy", -1),
    "a header": lambda entry: _flip(entry / "images.npy", 60),
    "no images": lambda entry: (entry / "images.npy").unlink(),
    "folder": lambda entry: _in_a_folder_s_place(entry / "images.npy"),
    "not json": lambda entry: (entry / "unreadable.json").write_text("{"),
    "other json": lambda entry: (entry / "unreadable.json").write_text("[1]"),
    "said to be unreadable": lambda entry: (entry / "unreadable.json").write_text('{"0": ""}'),
    "checksum": lambda entry: (entry / "checksum").write_text("00000000"),
    "no checksum": lambda entry: (entry / "checksum").unlink(),
    "a file": lambda entry: (shutil.rmtree(entry), entry.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_entry_is_built_anew_and_said(root, cache, damage, caplog, undecodable):
    first = pixels(open_folder(root), "train")
    for entry in entries(cache)[0]:
        DAMAGES[damage](entry)
    assert (pixels(open_folder(root), "train") == first).all()
    assert "is broken" in caplog.text
    undecodable()
    again = pixels(open_folder(root), "train")
    assert (again == first).all(), "mended for good"


def test_an_entry_in_another_s_place_is_noticed(root, folders, cache):
    folders.fill("val", count=10)  # as many as for training
    first = pixels(open_folder(root), "train")
    entry, other = [path for path in entries(cache)[0] if len(np.load(path / "images.npy")) == 20]
    one, two = (entry / "images.npy").read_bytes(), (other / "images.npy").read_bytes()
    (entry / "images.npy").write_bytes(two)
    (other / "images.npy").write_bytes(one)
    assert (pixels(open_folder(root), "train") == first).all()


def test_what_a_killed_process_left_is_cleared_away(root, cache):
    open_folder(root)
    for entry in entries(cache)[0]:
        shutil.move(entry, entry.with_name(entry.name + ".123"))
    open_folder(root)
    assert entries(cache)[1] == []


def test_a_failed_start_leaves_nothing_behind(root, cache, folders):
    folders.write("train/b/odd.png", 9, 9)
    with pytest.raises(UserError):
        open_folder(root)
    assert not cache.exists() or entries(cache) == ([], [])


def _decode_at_once(root, barrier, results):
    barrier.wait()
    results.put(pixels(open_folder(root, workers=0), "train").tobytes())


def test_processes_that_start_together_build_one_cache(root, cache):
    # not forked: a copy of a process that has threads may wait for one that it does not have
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kdzoo.data.open"])  # imports torch, once for all of them
    barrier, results = context.Barrier(3), context.Queue()
    arguments = (root, barrier, results)
    processes = [context.Process(target=_decode_at_once, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    found = {results.get(timeout=200) for _ in processes}
    for process in processes:
        process.join()
    assert found == {pixels(open_folder(root), "train").tobytes()}
    finished, others = entries(cache)
    assert (len(finished), others) == (2, [])


def test_who_waits_for_another_process_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    path = tmp_path / "key.lock"
    got = []

    def wait():
        with locks.locked(path) as alone:
            got.append(alone)

    with FileLock(path):
        waiting = Thread(target=wait)
        waiting.start()
        while "Waiting for another process" not in caplog.text:
            waiting.join(0.01)
        assert not got
    waiting.join(60)
    assert got == [True]
