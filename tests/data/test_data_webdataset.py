"""Tar shards of samples: which there are, how they are labelled, and what is refused."""

import io
import json
import pickle
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
from data_helpers import epoch_of, labels, load_named, open_named, pixels, png, shades
from PIL import Image

from kdzoo.datasets import tar_samples
from kdzoo.errors import UserError


def write(path, members):
    """A tar file of members, names and bytes in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(first, count):
    """``count`` samples whose colour tells their number, of the classes even and odd."""
    for number in range(first, first + count):
        yield f"{number:04}.png", png(number)
        yield f"{number:04}.cls", b"%d\n" % (number % 2)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "shards"
    for shard in range(3):
        write(folder / f"train-{shard:04}.tar", samples(10 * shard, 10))
    write(folder / "val/0000.tar", samples(100, 4))
    return folder


def load(root, **settings):
    return load_named("webdataset", root=root, **{"workers": 0, **settings})


def refused(root, **settings):
    with pytest.raises(UserError) as error:
        load(root, **settings)
    return str(error.value)


def test_samples_come_in_the_order_of_the_shards_with_their_labels(root):
    splits = load(root)
    assert shades(splits.train.images) == list(range(30))
    assert splits.train.labels.tolist() == [0, 1] * 15
    assert shades(splits.test.images) == [100, 101, 102, 103]
    assert splits.classes == ("0", "1")
    assert splits.notes == (f"val of {root} is used as the test split",)
    name = splits.train.images.name(11)
    assert name == f"the image 0011.png in {root / 'train-0001.tar'}"


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_batches_are_those_of_any_data_set(root, pipeline):
    augment = {"crop_padding": 0}
    data = open_named("webdataset", root=root, pipeline=pipeline, workers=0, augment=augment)
    x, y = epoch_of(data)
    shade = (x[:, :, 0, 4, 4] * data.info.std[0] + data.info.mean[0]).mul(255).round()
    assert (shade % 2 == y).all()
    assert len(set(shade.flatten().tolist())) == 24
    assert labels(data, "test").tolist() == [0, 1, 0, 1]
    assert pixels(data, "test")[:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def test_two_processes_share_what_one_has_and_go_on_in_the_middle(root):
    settings = {"root": root, "pipeline": "loader", "workers": 0, "augment": {"resized_crop": 0.5}}
    whole = list(open_named("webdataset", **settings).train_batches(1))[1:]
    shares = [
        list(
            open_named("webdataset", **settings, rank=rank, world_size=2).train_batches(1, start=1)
        )
        for rank in (0, 1)
    ]
    assert len(whole) == 2
    for (x, y, _), *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), x)
        assert torch.equal(torch.cat([part[1] for part in parts]), y)


def test_workers_read_the_same(root):
    alone, others = (
        open_named("webdataset", root=root, pipeline="loader", workers=workers)
        for workers in (0, 2)
    )
    assert torch.equal(epoch_of(alone)[0], epoch_of(others)[0])


def test_several_processes_read_the_shards_to_the_same_images(root, monkeypatch):
    monkeypatch.setattr("kdzoo.data.index.SETTLED", float("inf"))  # so that both are read
    alone, others = load(root), load(root, workers=2)
    assert list(others.train.images.listed()) == list(alone.train.images.listed())
    assert others.train.images.places.tolist() == alone.train.images.places.tolist()
    assert others.train.labels.tolist() == alone.train.labels.tolist()
    (root / "train-0001.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"train-0001\.tar cannot be read"):
        load(root, workers=2)


def test_the_second_start_reads_no_shard(root, monkeypatch):
    monkeypatch.setattr("kdzoo.data.index.SETTLED", 0)
    read, members_of = [], tar_samples.members_of
    monkeypatch.setattr(
        tar_samples, "members_of", lambda path: read.append(path) or members_of(path)
    )
    first, second = load(root), load(root)
    assert len(read) == 4
    assert shades(second.train.images) == shades(first.train.images)
    assert second.train.images.name(17) == first.train.images.name(17)
    assert (second.notes, [*second.classes]) == (first.notes, [*first.classes])
    write(root / "train-0001.tar", samples(50, 12))
    assert shades(load(root).train.images) == [*range(10), *range(50, 62), *range(20, 30)]
    write(root / "train-0003.tar", samples(80, 2))
    assert shades(load(root).train.images)[-2:] == [80, 81]
    (root / "classes.txt").write_text("even\nodd\n")
    assert [*load(root).classes] == ["even", "odd"]


NAMED = {
    "classes.txt": "ant\nbee\n",
    "classnames.txt": "ant\r\nbee",
    "classes.json": json.dumps(["ant", "bee"]),
    "classes.json ": json.dumps({"1": "bee", "0": "ant"}),
    "classes.json  ": json.dumps({"bee": 1, "ant": 0}),
}


@pytest.mark.parametrize("file", NAMED)
def test_classes_have_the_names_of_the_file_beside_the_shards(root, file):
    (root / file.strip()).write_text(NAMED[file])
    splits = load(root)
    assert splits.classes == ("ant", "bee")
    assert splits.train.labels[:2].tolist() == [0, 1]
    assert any("names of the classes" in note for note in splits.notes)


def test_labels_that_are_names_are_sorted(tmp_path):
    names = ["wolf", "bee", "wolf", "ant"] * 3
    members = []
    for number, name in enumerate(names):
        fields = json.dumps({"id": number, "class": name}).encode()
        members += [(f"a/{number}.json", fields), (f"a/{number}.png", png(number))]
    write(tmp_path / "train.tar", members)
    write(tmp_path / "test.tar", members[:2])
    splits = load(tmp_path)
    assert splits.classes == ("ant", "bee", "wolf")
    assert splits.train.labels.tolist() == [2, 1, 2, 0] * 3
    assert splits.test.labels.tolist() == [2]


def test_a_lone_shard_is_divided_the_same_each_time(tmp_path):
    path = write(tmp_path / "everything.tar", samples(0, 20))
    first, second = load(path, test_fraction=0.3), load(path, test_fraction=0.3)
    assert (len(first.train), len(first.test)) == (14, 6)
    assert Counter(first.test.labels.tolist()) == {0: 3, 1: 3}
    assert shades(first.test.images) == shades(second.test.images)
    assert sorted(shades(first.test.images) + shades(first.train.images)) == list(range(20))
    assert "0.3 of each class is the test split" in first.notes[0]


def test_chosen_members(root):
    members = []
    for number in range(6):
        fields = {"fine": number % 2, "coarse": "x" if number < 3 else "y"}
        members += [
            (f"{number}.left.png", png(number)),
            (f"{number}.right.png", png(number + 100)),
            (f"{number}.json", json.dumps(fields).encode()),
        ]
    write(root / "only/train.tar", members)
    only = root / "only"
    assert "dataset.image=left.png" in refused(only)
    assert "no field label" in refused(only, image="right.png")
    splits = load(only, image="right.png", label="json.fine")
    assert set(shades(splits.train.images) + shades(splits.test.images)) == set(range(100, 106))
    assert load(only, image="right.png", label="json.coarse").classes == ("x", "y")


class Trap:
    """What must never be unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_pickled_members_are_not_looked_at(tmp_path):
    trap = pickle.dumps(Trap())
    members = []
    for number in range(12):
        part = [(f"{number}.{end}", trap) for end in ("pyd", "pth", "pickle")]
        members += [*part, *samples(number, 1)]
    write(tmp_path / "train.tar", members)
    data = open_named("webdataset", root=tmp_path, batch_size=4)
    assert len(list(data.train_batches(0))) == 2


def test_what_is_part_of_no_sample_is_counted(root):
    path = root / "train-0003.tar"
    write(path, [*samples(40, 2), ("README", b""), ("7.cls", b"0"), ("8.txt", b"0")])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    notes = load(root).notes
    assert f"2 samples without an image, such as {path}/7" in notes[0]
    assert f"2 members that are part of no sample, such as {path}/x.png" in notes[1]


def test_an_unreadable_image_stops_or_is_skipped(root):
    members = list(samples(40, 4))
    members[2] = (members[2][0], members[2][1][:40])
    path = write(root / "train-0003.tar", members)
    with pytest.raises(UserError, match=r"0041\.png in .*train-0003\.tar"):
        open_named("webdataset", root=root)
    data = open_named("webdataset", root=root, on_error="skip")
    assert data.info.train_size == 33
    assert len(data.skipped) == 1
    assert str(path) in data.skipped[0]


def cut_off(content):
    return content[: len(content) // 2]


def header_damaged(content):
    """Of the fourth member."""
    return content[:3072] + b"\xff" * 512 + content[3584:]


DAMAGES = {
    "cut off": (cut_off, "incomplete or damaged|cannot be read"),
    "a header": (header_damaged, "incomplete or damaged"),
    "joined": (lambda content: content * 2, "Behind the end"),
    "empty": (lambda content: b"", "cannot be read"),
    "no tar": (lambda content: b"x" * 5000, "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_refused(root, damage):
    path = root / "train-0001.tar"
    change, expected = DAMAGES[damage]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=expected) as error:
        load(root)
    assert str(path) in str(error.value)


def test_a_shard_that_is_cut_between_members_is_refused(root):
    path = root / "train-0001.tar"
    with tarfile.open(path) as archive:
        end = archive.getmembers()[4].offset
    path.write_bytes(path.read_bytes()[:end])
    assert "incomplete" in refused(root)


def test_a_shard_that_became_shorter_is_noticed_where_it_is_read(root):
    splits = load(root)
    path = root / "train-0001.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(OSError, match="ends before"):
        splits.train.images[15]
    assert splits.train.images.digest(15) is None


REFUSED = {
    "no shards": (lambda root: [one.unlink() for one in root.rglob("*.tar")], "no .tar files"),
    "compressed": (lambda root: (root / "train-9.tar.gz").write_bytes(b""), "is compressed"),
    "unnamed": (lambda root: write(root / "more.tar", samples(0, 2)), "tells no split"),
    "no train": (
        lambda root: [one.unlink() for one in root.glob("train*")],
        "nothing to train on",
    ),
    "twice": (
        lambda root: write(root / "train-0.tar", [*samples(0, 1), *samples(0, 1)]),
        "0000.png twice",
    ),
    "no label": (lambda root: write(root / "train-0.tar", [("1.png", png(1))]), "has no label"),
    "empty label": (
        lambda root: write(root / "train-0.tar", [("1.png", png(1)), ("1.cls", b" ")]),
        "no label in 1.cls",
    ),
    "no JSON": (
        lambda root: write(root / "train-0.tar", [("1.png", png(1)), ("1.json", b"{")]),
        "no label in 1.json",
    ),
    "a fraction": (
        lambda root: write(root / "train-0.tar", [("1.png", png(1)), ("1.json", b'{"cls": 1.5}')]),
        "1.5 is no name",
    ),
    "names and numbers": (
        lambda root: write(root / "train-0.tar", [("1.png", png(1)), ("1.cls", b"cat")]),
        "some labels are numbers",
    ),
    "from 1": (
        lambda root: [
            write(one, [("1.png", png(1)), ("1.cls", b"1"), ("2.png", png(2)), ("2.cls", b"2")])
            for one in root.rglob("*.tar")
        ],
        "no sample of the class '0'",
    ),
    "too large": (
        lambda root: write(root / "train-0.tar", [("1.png", png(1)), ("1.cls", b"123456789")]),
        "reach 123456789",
    ),
    "negative": (
        lambda root: write(root / "train-0.tar", [("1.png", png(1)), ("1.cls", b"-1")]),
        "such as -1",
    ),
    "other test classes": (
        lambda root: write(root / "val/0.tar", [("1.png", png(1)), ("1.cls", b"5")]),
        "such as 5",
    ),
    "few names": (lambda root: (root / "classes.txt").write_text("ant\n"), "such as 1"),
    "names twice": (lambda root: (root / "classes.txt").write_text("ant\nant"), "two classes"),
    "no names": (lambda root: (root / "classes.json").write_text("7"), "cannot be read"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(root, what):
    change, expected = REFUSED[what]
    change(root)
    assert expected in refused(root)


def test_images_have_the_fingerprint_of_their_bytes(root, tmp_path):
    from kdzoo.data.fingerprint import data_fingerprint

    first = data_fingerprint(load(root))
    other = tmp_path / "elsewhere"
    write(other / "train.tar", samples(0, 30))
    write(other / "validation.tar", samples(100, 4))
    assert data_fingerprint(load(other)) == first
    write(other / "train.tar", [*samples(1, 1), *samples(0, 1), *samples(2, 28)])
    assert data_fingerprint(load(other)) != first


def test_photographs_are_cut_as_from_files(tmp_path, folders):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        members = []
        for number in range(8):
            image = Image.fromarray(random.integers(0, 256, (120, 160, 3), dtype=np.uint8))
            path = folders.save(f"{split}/{number % 2}/{number}.jpg", image, quality=90)
            members += [(f"{number % 2}-{number}.jpg", path.read_bytes())]
            members += [(f"{number % 2}-{number}.cls", b"%d" % (number % 2))]
        write(tmp_path / "shards" / f"{split}.tar", sorted(members))
    settings = {"image_size": 32, "augment": {"resized_crop": 0.2}, "workers": 0}
    settings |= {"pipeline": "loader", "batch_size": 4}
    shards = open_named("webdataset", root=tmp_path / "shards", **settings)
    files = open_named("imagefolder", root=folders.root, **settings)
    assert shards.info.mean == files.info.mean
    for one, other in zip(epoch_of(shards), epoch_of(files), strict=True):
        assert torch.equal(one, other)
