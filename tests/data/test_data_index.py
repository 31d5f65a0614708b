"""The index of image folders: the same images without looking, unless anything has changed."""

import os
import shutil

import numpy as np
import pytest
from data_helpers import contents, load_named
from full_disk import full_disk

from kdzoo.data.paths import Paths
from kdzoo.datasets import imagefolder


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Folders that have just been written are taken for settled."""
    monkeypatch.setattr("kdzoo.data.index.SETTLED", 0)


@pytest.fixture
def root(folders):
    folders.fill("train", count=4)
    folders.fill("val", count=2)
    (folders.root / "train/a/notes").write_text("no image yet")
    return folders.root


@pytest.fixture
def looks(monkeypatch):
    """How often the folders have been looked through."""
    read, count = imagefolder.read_splits, []

    def counted(*arguments):
        count.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(imagefolder, "read_splits", counted)
    return count


def load(root, **settings):
    return load_named("imagefolder", root=root, **settings)


def facts(splits, root):
    return (
        contents(splits, root),
        tuple(splits.classes),
        splits.notes,
        {name: one.images.stamps.tolist() for name, one in splits.as_dict().items()},
    )


def test_the_second_start_does_not_look(root, looks):
    first = load(root)
    assert facts(load(root), root) == facts(first, root)
    assert len(looks) == 1


def rewritten(root):
    path = root / "train/a/001.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def linked(root):
    os.symlink(root / "train/a/001.png", root / "train/a/x.png")


CHANGES = {
    "a file in place, as large and as old as before": rewritten,
    "a file more": lambda root: shutil.copy(root / "train/a/001.png", root / "train/a/x.png"),
    "a file less": lambda root: (root / "val/b/001.png").unlink(),
    "another name": lambda root: (root / "val/b/001.png").rename(root / "val/b/9.png"),
    "another class": lambda root: (root / "val/b/001.png").rename(root / "val/a/9.png"),
    "a class more": lambda root: shutil.copytree(root / "train/a", root / "train/c"),
    "a split more": lambda root: shutil.copytree(root / "val", root / "test"),
    "a file left out becomes an image": lambda root: shutil.copyfile(
        root / "train/a/001.png", root / "train/a/notes"
    ),
    "a link to a file": linked,
    "another folder in its place": lambda root: (
        shutil.move(root, f"{root}.old"),
        shutil.copytree(f"{root}.old", root),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed(root, looks, change, tmp_path):
    load(root)
    change(root)
    found = load(root)
    assert len(looks) == 2
    shutil.rmtree(tmp_path / "cache")
    assert facts(found, root) == facts(load(root), root)


def test_a_changed_list_of_labels_is_noticed(folders, looks):
    folders.fill("train", count=2)
    for number in range(2):
        folders.write(f"val/images/{number}.png")
    labels = folders.root / "val/val_annotations.txt"
    labels.write_text("0.png\ta\n1.png\tb\n")
    assert load(folders.root).test.labels.tolist() == [0, 1]
    labels.write_text("0.png\tb\n1.png\tb\n")
    assert load(folders.root).test.labels.tolist() == [1, 1]


def test_a_list_of_labels_that_appears_is_noticed(folders, looks):
    folders.fill("train", count=2)
    folders.fill("test", count=2)
    folders.write("val/images/0.png")
    assert load(folders.root).val is None
    (folders.root / "val/val_annotations.txt").write_text("0.png\tb\n")
    assert load(folders.root).val.labels.tolist() == [1]


def test_a_link_that_leads_elsewhere_is_noticed(folders, tmp_path):
    folders.fill("one/train", count=2)
    folders.fill("one/test", count=2)
    shutil.copytree(folders.root / "one", folders.root / "two")
    shutil.copytree(folders.root / "two/train/a", folders.root / "two/train/c")
    link = tmp_path / "link"
    link.symlink_to(folders.root / "one")
    assert len(load(link).classes) == 2
    link.unlink()
    link.symlink_to(folders.root / "two")
    assert len(load(link).classes) == 3


def test_a_folder_that_changes_meanwhile_is_looked_through_again(root, looks, monkeypatch):
    monkeypatch.setattr("kdzoo.data.index.SETTLED", 2 * 10**9)
    load(root)
    load(root)
    assert len(looks) == 2


def test_settings_that_decide_have_an_index_each(folders):
    folders.fill(".", count=10)
    assert [len(load(folders.root, test_fraction=part).test) for part in (0.2, 0.5, 0.2)] == [
        4,
        10,
        4,
    ]


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_bytes(b"x" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_made_anew(root, looks, cache, caplog, damage):
    first = load(root)
    (index,) = cache.glob("*.index")
    damage(index)
    assert facts(load(root), root) == facts(first, root)
    assert "is made anew" in caplog.text
    assert len(looks) == 2
    load(root)
    assert len(looks) == 2


def test_no_room_for_the_index(root, cache, caplog):
    cache.mkdir(parents=True)
    with full_disk():
        splits = load(root)
    assert len(splits.train) == 8
    assert "The list of images is not kept" in caplog.text


def test_names_that_are_not_utf_8(root, looks):
    os.rename(root / "train/a/001.png", os.fsencode(root) + b"/train/a/\xff.png")
    first = load(root)
    second = load(root)
    assert len(looks) == 1
    assert facts(second, root) == facts(first, root)
    assert all(np.array_equal(second.train.images[k], first.train.images[k]) for k in range(8))


def test_paths_are_sequences_of_strings():
    given = ["a/b.png", "", "\udcff", "ä"]
    paths = Paths.of(given)
    assert list(paths) == given
    assert [paths[k] for k in range(-1, 3)] == [given[-1], *given[:3]]
    assert list(paths.take(np.array([3, 0, 3]))) == ["ä", "a/b.png", "ä"]
    assert list(paths[1:3]) == given[1:3]
    assert list(Paths.of([])) == []
