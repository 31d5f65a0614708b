"""Whether the images on which `kdzoo eval` measures a student are ones that it was trained on."""

import shutil

import numpy as np
import pytest
import torch
from coloured_photos import COLOURS, SETTINGS, picture, save_photos, train_on
from PIL import Image

from kdzoo import registry
from kdzoo.api import run as run_in_python
from kdzoo.compose import compose
from kdzoo.data import data_from
from kdzoo.data.selection import select
from kdzoo.training.evaluate_student import evaluate_student
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    save_photos(root)
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    return train_on(photos, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def other(photos, tmp_path):
    """A copy of the data that a test may change."""
    return shutil.copytree(photos, tmp_path / "other")


@pytest.fixture(scope="module")
def divided(photos, tmp_path_factory):
    """A run on one folder, of which three images in ten were held out for test and validation."""
    out = tmp_path_factory.mktemp("divided")
    root = shutil.copytree(photos / "train", out / "photos")
    settings = ["dataset=imagefolder", f"dataset.root={root}", f"out={out / 'runs'}"]
    settings += ["dataset.val_fraction=0.25", f"dataset.cache={out / 'cache'}"]
    return train(compose([*SETTINGS, "training.steps=2", *settings]))


def paths(*settings):
    """The files of each split that a run with these settings has."""
    config = compose(["dataset=imagefolder", *settings])
    loaded = select(registry.datasets.get("imagefolder")(config.dataset).load(), config.dataset, 0)
    found = {name: set(split.images.paths) for name, split in loaded.as_dict().items()}
    return {**found, "all": set().union(*found.values())}


@pytest.mark.parametrize(
    ("override", "split", "images", "trained_on"),
    [
        ("dataset.test_fraction=0.2", "test", 10, 0),
        ("dataset.test_fraction=0.5", "test", 24, None),
        ("dataset.val_fraction=0.5", "val", 19, None),
        ("dataset.val_fraction=0.25", "val", 10, 0),
        ("dataset.train_subset=12", "train", 12, 12),
        ("dataset.val_fraction=0", "train", 38, 28),
        ("dataset.workers=0", "all", 48, 28),
    ],
)
def test_measured_images_that_were_trained_on_are_counted(
    divided, kdzoo, override, split, images, trained_on
):
    if trained_on is None:  # which images these are is a matter of chance
        own = [f"dataset.root={divided.path.parents[4] / 'photos'}", "dataset.val_fraction=0.25"]
        trained_on = len(paths(*own)["train"] & paths(*own, override)[split])
        assert trained_on > 5
    done = kdzoo("eval", str(divided.path), override, "--split", split)
    assert done.code == 0
    figures = evaluate_student(divided.path, [override], split)
    assert (figures["images"], figures["trained_on"]) == (images, trained_on)
    if trained_on:
        count = "all" if trained_on == images else trained_on
        assert f"({images} images, {count} of them trained on)" in done.out
    else:
        assert f"({images} images)" in done.out


def test_images_that_were_trained_on_are_found_wherever_they_lie(divided, photos, tmp_path, caplog):
    other = shutil.copytree(photos / "test", tmp_path / "other")
    for number, path in enumerate(sorted((photos / "train" / "bee").iterdir())):
        Image.open(path).save(other / "bee" / f"other{number}.bmp")
    figures = evaluate_student(divided.path, [f"dataset.root={other}"], "all")
    assert figures["images"] == 27 + 16
    bees = evaluate_student(divided.path, [f"dataset.root={photos / 'train'}"], "all")
    assert bees["trained_on"] == 28
    assert 0 < figures["trained_on"] < 16
    assert "Nothing tells" not in caplog.text


def test_whether_images_were_trained_on_may_not_be_known(run, photos, tmp_path, caplog):
    moved = shutil.copytree(run.path, tmp_path / "run")
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace(str(photos), str(tmp_path / "gone")))
    figures = evaluate_student(moved, [f"dataset.root={photos}"])
    assert "trained_on" not in figures
    assert "Nothing tells whether the student was trained on some of these images" in caplog.text
    assert "gone" in caplog.text


def test_a_run_on_a_programs_own_data(tmp_path, photos, kdzoo, caplog):
    random = np.random.default_rng(0)
    images = torch.tensor(random.integers(0, 256, (40, 3, 12, 12)), dtype=torch.uint8)
    mine = torch.utils.data.TensorDataset(images, torch.arange(40) % 3)
    own = data_from(
        torch.utils.data.Subset(mine, range(30)),
        torch.utils.data.Subset(mine, range(25, 40)),
        classes=list(COLOURS),
    )
    folder = run_in_python(
        method="independent",
        backbone="resnet8",
        dataset=own,
        epochs=1,
        batch_size=10,
        out=str(tmp_path),
    )
    done = kdzoo("eval", str(folder.path))
    assert done.code == 2
    message = " ".join(done.err.split())
    assert "was trained on 'own'" in message
    assert "dataset=imagefolder dataset.root=DIR" in message
    assert "dataset=data_from(...)" in message
    figures = evaluate_student(folder.path, dataset=own)
    assert figures["top1"] == folder.read_result()["last"]["student"]["top1"]
    assert (figures["images"], figures["trained_on"]) == (15, 5)
    assert folder.read_result()["test_repeats"] == 5
    assert caplog.text == ""
    done = kdzoo("eval", str(folder.path), "dataset=imagefolder", f"dataset.root={photos}")
    assert "(27 images)" in done.out
    assert "Nothing tells whether the student was trained on" in caplog.text


def test_data_that_have_changed_are_not_taken_for_the_runs(photos, tmp_path, caplog):
    """More images in one folder are another division, with training images in the test split."""
    root = shutil.copytree(photos / "train", tmp_path / "photos")
    settings = ["dataset=imagefolder", f"dataset.root={root}", f"out={tmp_path / 'runs'}"]
    run = train(compose([*SETTINGS, "training.steps=2", *settings]))
    evaluate_student(run.path)
    assert "have changed" not in caplog.text
    picture(np.random.default_rng(1), COLOURS["ant"]).save(root / "ant" / "0new.png")
    for number in range(4):
        shutil.copy(root / "bee" / "0.png", root / "bee" / f"copy{number}.png")
    figures = evaluate_student(run.path)
    assert f"{run.path} have changed since it was trained (" in caplog.text
    assert "samples of 3 classes" in caplog.text
    assert figures["images"] != run.read_result()["test_size"]
    caplog.clear()
    evaluate_student(run.path, [f"dataset.root={photos}"])
    assert "have changed" not in caplog.text  # asked for
    run.identity.write_text("{")
    assert evaluate_student(run.path) == figures
    assert "Nothing tells whether the data have changed" in caplog.text


def test_a_run_of_an_older_version_does_not_tell_what_it_was_trained_on(
    run, other, tmp_path, caplog
):
    """The same data may be divided otherwise by this version."""
    old = RunFolder(shutil.copytree(run.path, tmp_path / "old"))
    old.identity.unlink()
    figures = evaluate_student(old.path)
    assert figures["top1"] == run.read_result()["last"]["student"]["top1"]
    assert f"Nothing tells whether the data of {old.path} have changed since" in caplog.text
    assert "trained_on" not in figures
    caplog.clear()
    assert "trained_on" not in evaluate_student(old.path, [f"dataset.root={other}"])
    assert "Nothing tells whether the student was trained on" in caplog.text
    assert "have changed" not in caplog.text  # asked for
