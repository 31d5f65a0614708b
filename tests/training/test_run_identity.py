"""Which run a folder is of, the runs beside it, and what is gone on from."""

import dataclasses
import json
import logging
import os
import shutil

import numpy as np
import pytest
import torch
from hand_made import identity_of
from PIL import Image
from torch.utils.data import Subset, TensorDataset

import kdzoo
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.testing import BACKBONE
from kdzoo.training.display import Silent
from kdzoo.training.neighbours import depends_on_progress
from kdzoo.training.run import train

SMALL = (
    "method=independent",
    f"backbone={BACKBONE}",
    "epochs=2",
    "batch_size=256",
    "lr=0.05",
    "schedule=constant",
    "schedule.warmup=0",
    "dataset.train_subset=512",
)


class Heard(Silent):
    """Keeps what a run says, and stops it after some epochs."""

    def __init__(self, stop_after=None):
        self.lines, self.epochs, self.stop_after = [], [], stop_after

    def say(self, line):
        self.lines.append(line)

    def epoch(self, record, epochs):
        self.epochs.append(record["epoch"])
        if record["epoch"] == self.stop_after:
            raise KeyboardInterrupt

    @property
    def about_neighbours(self):
        return [line for line in self.lines if "A run that differs" in line]


def run(out, *settings, stop_after=None):
    heard = Heard(stop_after)
    try:
        folder = train(compose([*SMALL, f"out={out}", *settings]), heard)
    except KeyboardInterrupt:
        folder = None
    return folder, heard


def files(folder):
    """What has to be the same: the student, and the records but for what they took."""
    records = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    for record in records:
        del record["seconds"], record["peak_memory"]
    result = folder.read_result()
    figures = {key: result[key] for key in ("epochs", "steps", "last", "best", "student")}
    return (folder.path / "student.safetensors").read_bytes(), records, figures


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A run of four epochs, from scratch."""
    return run(tmp_path_factory.mktemp("four"), "epochs=4")[0]


def test_a_finished_run_is_made_longer_and_equals_one_from_scratch(tmp_path, four):
    short, _ = run(tmp_path)
    before = {path.name: path.read_bytes() for path in short.path.iterdir()}
    long, heard = run(tmp_path, "epochs=4")
    assert heard.epochs == [3, 4]
    assert heard.about_neighbours == [
        f"A run that differs in epochs (2) is in {short.path}; this one goes on from there."
    ]
    assert long.path != short.path
    assert files(long) == files(four)
    assert {path.name: path.read_bytes() for path in short.path.iterdir()} == before


def test_so_is_an_unfinished_one(tmp_path, four):
    run(tmp_path, "epochs=3", stop_after=1)
    long, heard = run(tmp_path, "epochs=4")
    assert heard.epochs == [2, 3, 4]
    assert files(long) == files(four)


def test_an_epoch_that_was_the_last_is_no_longer_evaluated_out_of_turn(tmp_path):
    rarely = "training.eval_every=2"
    scratch, _ = run(tmp_path / "scratch", "epochs=4", rarely)
    run(tmp_path / "parts", "epochs=3", rarely)
    long, heard = run(tmp_path / "parts", "epochs=4", rarely)
    assert heard.epochs == [4]
    assert files(long) == files(scratch)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["schedule=cosine"], "schedule=cosine"),
        (["schedule.warmup=0.5"], "warm-up"),
        (["method=one"], "ramp_up"),
    ],
)
def test_where_that_would_be_another_training_it_says_why_it_starts_over(
    tmp_path, settings, reason
):
    run(tmp_path, *settings)
    _, heard = run(tmp_path, "epochs=3", *settings)
    assert heard.epochs == [1, 2, 3]
    (line,) = heard.about_neighbours
    assert "starts from the beginning" in line
    assert reason in line


def test_a_shorter_run_that_is_damaged_is_left_alone(tmp_path):
    short, _ = run(tmp_path)
    short.checkpoint.write_bytes(b"damaged")
    _, heard = run(tmp_path, "epochs=3")
    assert heard.epochs == [1, 2, 3]
    assert "checkpoint.pt" in heard.about_neighbours[0]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("lr=0.1", "lr (0.05)"),
        ("optimizer=adamw", "optimizer (sgd)"),
        ("epochs=1", "epochs (2)"),
        ("optimizer.momentum=0.8", "optimizer.momentum (0.9)"),
    ],
)
def test_a_run_that_differs_in_one_setting_is_named(tmp_path, setting, named):
    run(tmp_path, "training.steps=1" if "epochs" not in setting else "seed=0")
    _, heard = run(tmp_path, setting, "training.steps=1" if "epochs" not in setting else "seed=0")
    (line,) = heard.about_neighbours
    assert f"differs in {named}" in line


def test_another_seed_and_more_than_one_setting_are_no_neighbours(tmp_path):
    run(tmp_path, "training.steps=1")
    for settings in (["seed=1"], ["lr=0.1", "training.label_smoothing=0.1"]):
        assert not run(tmp_path, "training.steps=1", *settings)[1].about_neighbours


@pytest.mark.parametrize(
    ("method", "settings", "depends"),
    [
        ("independent", {}, False),
        ("byot", {}, False),
        ("mbde", {}, True),
        ("mbde", {"ramp_up": 0}, False),
        ("okddip", {"ramp_up": 0.1}, True),
        ("kdcl", {"variant": "general"}, False),
    ],
)
def test_whether_a_method_depends_on_the_length_is_found_out(method, settings, depends):
    built = kdzoo.create_method(method, "resnet8", 4, (3, 8, 8), **settings)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    assert depends_on_progress(built, (3, 8, 8)) is depends
    after = built.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.fixture
def bees(tmp_path, monkeypatch):
    """A small image folder ``d`` in the present folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("bee", "cow"):
            folder = tmp_path / "d" / split / name
            folder.mkdir(parents=True)
            for index in range(8):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "d"


def on(root):
    settings = ("dataset=imagefolder", f"dataset.root={root}", "batch_size=8", "epochs=1")
    return [one for one in SMALL if "subset" not in one] + [*settings, "out=runs"]


def test_one_data_set_by_five_paths_is_one_run(bees):
    os.symlink(bees, "link")
    heard = Heard()
    paths = ["d", bees, "./d/", "link", f"../{bees.parent.name}/d"]
    folders = {train(compose(on(path)), heard).path for path in paths}
    assert len(folders) == 1
    assert heard.epochs == [1]


def test_changed_data_are_another_run_that_knows_of_the_first(bees):
    first = train(compose(on("d")))
    (bees / "train" / "bee" / "0.png").unlink()
    heard = Heard()
    second = train(compose(on("d")), heard)
    assert second.path != first.path
    assert second.read_result()["train_size"] == 15
    assert "differs in data (16 + 16 samples of 2 classes)" in heard.about_neighbours[0]


def test_an_unfinished_run_is_not_gone_on_with_on_other_data(bees):
    with pytest.raises(KeyboardInterrupt):
        train(compose([*on("d"), "epochs=2"]), Heard(stop_after=1))
    shutil.copy(bees / "train" / "cow" / "0.png", bees / "train" / "bee" / "0.png")
    heard = Heard()
    train(compose([*on("d"), "epochs=2"]), heard)
    assert heard.epochs == [1, 2]
    assert "differs in data (other images in train)" in heard.about_neighbours[0]


def test_folds_and_other_data_from_python_are_runs_of_their_own(tmp_path, caplog):
    images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    whole = TensorDataset(images, torch.arange(60) % 3)
    settings = {"method": "independent", "backbone": "resnet8", "epochs": 1, "batch_size": 10}

    def fold(number, size=20):
        test = list(range(size * number, size * (number + 1)))
        train = [position for position in range(60) if position not in test]
        return kdzoo.data_from(Subset(whole, train), Subset(whole, test))

    data = [fold(0), fold(1), fold(2), fold(0, size=12)]
    folders = [kdzoo.run(dataset=one, out=str(tmp_path), **settings) for one in data]
    assert len({folder.path for folder in folders}) == 4
    assert [folder.read_result()["train_size"] for folder in folders] == [40, 40, 40, 48]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    again = kdzoo.run(dataset=fold(1), out=str(tmp_path), **settings)
    assert again.path == folders[1].path
    assert "was finished before" in caplog.text


@pytest.mark.parametrize(
    ("setting", "named"),
    [("seed=1", "seed (1)"), ("lr=0.1", "lr (0.1)"), ("dataset.augment.crop_padding=2", "crop")],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, setting, named):
    other, _ = run(tmp_path / "other", setting)
    run(tmp_path, stop_after=1)
    (mine,) = tmp_path.glob("digits/*/*/*/checkpoint.pt")
    shutil.copy(other.checkpoint, mine)
    before = mine.read_bytes()
    with pytest.raises(UserError, match=r"checkpoint\.pt is of another run.*resume=never") as error:
        run(tmp_path)
    assert named in str(error.value)
    assert mine.read_bytes() == before


@pytest.mark.parametrize("damage", ["fewer", "twice", "other", "no record"])
def test_records_that_do_not_follow_each_other_are_made_again(tmp_path, damage):
    """The checkpoint holds them too."""
    run(tmp_path, "epochs=3", stop_after=2)
    (metrics,) = tmp_path.glob("digits/*/*/*/metrics.jsonl")
    first, second = metrics.read_text().splitlines()
    lines = {"fewer": [first], "twice": [first, first], "other": [second, first]}
    metrics.write_text("\n".join(lines.get(damage, [first, "3"])) + "\n")
    run(tmp_path, "epochs=3")
    again = metrics.read_text().splitlines()
    assert again[:2] == [first, second]
    assert [json.loads(line)["epoch"] for line in again] == [1, 2, 3]


@pytest.mark.parametrize("content", ["{}", "null", "[", '{"settings": {}, "data": 3}'])
def test_a_damaged_identity_is_named(tmp_path, content):
    folder, _ = run(tmp_path, "training.steps=1")
    folder.identity.write_text(content)
    with pytest.raises(UserError, match=r"identity\.json"):
        run(tmp_path, "training.steps=1")


def test_differences_are_named():
    here = identity_of(compose(["lr=0.1"]))
    there = identity_of(compose(["lr=0.2", "optimizer=adamw", "seed=3"]))
    assert here.differences(there) == {"lr": "0.2", "optimizer": "adamw", "seed": "3"}
    assert here.differences(here) == {}
    changed = dataclasses.replace(here.networks[0], code="0")
    other = dataclasses.replace(here, networks=(changed,), code={"method mine": "1"})
    assert here.differences(other) == {
        "network": "other code",
        "code": "another version of method mine",
    }
