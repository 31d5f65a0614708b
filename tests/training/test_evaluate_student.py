"""`kdzoo eval`: a student measured again, on its own data and on other data, label by label."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from coloured_photos import COLOURS, save_photos, train_on
from hand_made import read_records
from PIL import Image

from kdzoo import registry
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.export import export_run
from kdzoo.student import load_student, read_student_info, save_student
from kdzoo.training.evaluate_student import evaluate_student


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


def test_it_gives_the_figures_of_the_result(run):
    last, figures = run.read_result()["last"]["student"], evaluate_student(run.path)
    known = {**last, "images": 27, "trained_on": 0}
    assert figures == known
    assert 50 < figures["top1"] < 100


def test_top5_of_three_classes_is_nowhere(run, kdzoo):
    result, (*_, epoch) = run.read_result(), read_records(run)
    for judged in (result["last"], result["best"], epoch["eval"]):
        assert set(judged["student"]) == {"top1", "nll", "ece"}
        assert all(set(peer) == {"top1", "nll"} for peer in judged["peers"])
    printed = kdzoo("run", str(run.config)).out
    assert "top-1 %" in printed
    assert f"{result['last']['student']['top1']:.2f}" in printed
    assert "top-5" not in printed


def test_labels_go_by_the_names_of_the_classes(run, other):
    """The folders of the same images sort another way round, as they do under Unicode's two é."""
    info = read_student_info(run.path)
    assert info.classes == ("ant", "bee", "cow")
    moved = run.path.parent / "moved"
    shutil.copytree(run.path, moved, dirs_exist_ok=True)
    names = {"ant": "zebra", "bee": "caf\u00e9", "cow": "emu"}
    renamed = info.model_copy(update={"classes": tuple(names[one] for one in info.classes)})
    save_student(moved, load_student(run.path), renamed)
    for split in ("train", "test"):
        for old, new in names.items():
            spelling = new.replace("\u00e9", "e\u0301")
            (other / split / old).rename(other / split / spelling)
    figures = evaluate_student(moved, [f"dataset.root={other}"])
    assert figures == pytest.approx(evaluate_student(run.path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda split: (split / "cow").rename(split / "calf"), "lacks 'calf' and it has 'cow'"),
        (lambda split: shutil.copytree(split / "cow", split / "dog"), "lacks 'dog'"),
    ],
)
def test_a_class_that_is_renamed_or_added_is_named(run, other, change, words):
    for split in ("train", "test"):
        change(other / split)
    with pytest.raises(UserError, match=words):
        evaluate_student(run.path, [f"dataset.root={other}"])


def test_every_split_and_test_images_alone(run, photos):
    top1 = {
        split: evaluate_student(run.path, split=split)["top1"] for split in ("train", "test", "all")
    }
    assert evaluate_student(run.path, split="train")["trained_on"] == 48
    assert evaluate_student(run.path, split="all")["trained_on"] == 48
    assert top1["all"] == pytest.approx((48 * top1["train"] + 27 * top1["test"]) / 75)
    alone = evaluate_student(run.path, [f"dataset.root={photos / 'test'}"], "all")
    assert alone == pytest.approx(evaluate_student(run.path))
    with pytest.raises(UserError, match="no 'val' split"):
        evaluate_student(run.path, split="val")


def test_images_to_test_on_may_lack_classes_and_trees_may_lack_splits(run, other, kdzoo, caplog):
    """A folder of ants alone is measured as the ants in the test split are."""
    whole = evaluate_student(run.path)
    shutil.rmtree(other / "train")
    assert evaluate_student(run.path, [f"dataset.root={other}"]) == pytest.approx(whole)
    assert evaluate_student(run.path, [f"dataset.root={other}"], "all") == pytest.approx(whole)
    ants = other / "ants"
    shutil.copytree(other / "test" / "ant", ants / "ant")
    for name in ("bee", "cow"):
        shutil.rmtree(other / "test" / name)
    assert caplog.text == ""
    figures = evaluate_student(run.path, [f"dataset.root={ants}"], "all")
    assert figures["images"] == 9
    assert "no image of 2 of the 3 classes (bee, cow)" in caplog.text
    again = evaluate_student(run.path, [f"dataset.root={other}"])
    assert again == pytest.approx(figures)
    (ants / "ant").rename(ants / "wasp")
    done = kdzoo("eval", str(run.path), f"dataset.root={ants}", "--split", "all")
    assert done.code == 2
    assert "it lacks 'wasp'" in done.err


def test_a_fifth_of_a_folder_is_said_to_be_one(run, photos, caplog):
    figures = evaluate_student(run.path, [f"dataset.root={photos / 'test'}"])
    assert figures["images"] == 5
    assert "0.2 of the images in" in caplog.text
    assert "--split all measures every one" in caplog.text


def test_what_other_data_lack_is_said(run, other, caplog):
    shutil.rmtree(other / "test" / "cow")
    (other / "test" / "bee" / "note.txt").write_text("no image")
    assert evaluate_student(run.path, [f"dataset.root={other}"])["images"] == 18
    assert "the test split has no image of 1 of the 3 classes (cow)" in caplog.text
    assert "note.txt" in caplog.text


def test_how_other_data_are_divided_is_said(run, other, caplog):
    assert evaluate_student(run.path, [f"dataset.root={other / 'train'}"])["images"] == 10
    assert f"no split folders in {other / 'train'}: 0.2 of each class is the test split" in (
        caplog.text
    )


def test_a_range_of_pixels_that_the_student_does_not_know_is_said(run, other, caplog):
    for path in other.rglob("*.png"):
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(grey.astype(np.uint16) * 16).save(path)
    evaluate_student(run.path, [f"dataset.root={other}"])
    assert "16-bit images: " in caplog.text
    assert " became 0 to 255" in caplog.text


def test_the_students_own_size_and_normalisation(run, other):
    """Images twice as large and darker are seen as the student sees images."""
    network, info = load_student(run.path), read_student_info(run.path)
    x, y = [], []
    for label, name in enumerate(COLOURS):
        for path in sorted((other / "test" / name).iterdir()):
            pixels = np.asarray(Image.open(path)) // 2
            x.append(torch.tensor(pixels).permute(2, 0, 1) / 255)
            y.append(label)
            Image.fromarray(pixels.repeat(2, 0).repeat(2, 1)).save(path)
    mean, std = (torch.tensor(one)[:, None, None] for one in (info.mean, info.std))
    with torch.no_grad():
        logits = network((torch.stack(x) - mean) / std)
    figures = evaluate_student(run.path, [f"dataset.root={other / 'test'}"], "all")
    guesses = logits.argmax(1) == torch.tensor(y)
    assert figures["top1"] == pytest.approx(100 * guesses.float().mean().item(), abs=4)
    assert figures["nll"] == pytest.approx(
        torch.nn.functional.cross_entropy(logits, torch.tensor(y)).item(), rel=0.1
    )


def test_another_normalisation_than_in_training_is_refused(run, kdzoo):
    done = kdzoo("eval", str(run.path), "dataset.mean=[0,0,0]", "dataset.std=[1,1,1]")
    assert done.code == 2
    assert "dataset.mean: A student is measured on images that are normalised as in" in done.err


def test_another_data_set_is_not_held_to_the_runs_settings(run):
    with pytest.raises(UserError, match=r"lacks '0', '1'.* has 'ant', 'bee', 'cow' besides"):
        evaluate_student(run.path, ["dataset=digits"])
    with pytest.raises(UserError, match="lr: a finished run is measured as it is"):
        evaluate_student(run.path, ["lr=3"])


def test_an_exported_student_is_measured_on_data_that_are_named(run, photos, tmp_path):
    exported = export_run(run.path, "safetensors", tmp_path / "exported")
    last = run.read_result()["last"]["student"]
    named = ["dataset=imagefolder", f"dataset.root={photos}"]
    known = {**last, "images": 27}
    assert evaluate_student(exported, named) == known
    for unnamed in ([], [f"dataset.root={photos}"]):  # of no data set, and not of the default one
        with pytest.raises(UserError, match="Name the data"):
            evaluate_student(exported, unnamed)


def test_an_exported_student_is_measured_on_a_programs_own_data(run, photos, tmp_path):
    exported = export_run(run.path, "safetensors", tmp_path / "exported")
    settings = compose(["dataset=imagefolder", f"dataset.root={photos}"]).dataset
    own = registry.datasets.get("imagefolder")(settings)
    figures = evaluate_student(exported, dataset=own)
    assert figures["top1"] == run.read_result()["last"]["student"]["top1"]


def test_several_runs_a_line_each(kdzoo, run, photos):
    done = kdzoo("eval", str(run.path), str(run.path), f"dataset.root={photos}", "--split", "test")
    lines = done.out.splitlines()
    assert (done.code, len(lines)) == (0, 2)
    top1 = run.read_result()["last"]["student"]["top1"]
    assert all(line.startswith(f"{run.path} top-1 {top1:.2f} %  nll") for line in lines)
    assert "top-5" not in done.out
    assert kdzoo("eval", "dataset.root=x").code == 2


@pytest.mark.parametrize("content", ["", "epochs: 3\n", "batch_size: many\ndataset: digits\n"])
def test_a_damaged_config_is_named_and_no_other_data_are_measured(run, tmp_path, content):
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        evaluate_student(copy)


@pytest.mark.parametrize("change", [("seed: 0", "seed: 1"), ("image_size: null", "image_size: 8")])
def test_a_config_that_was_edited_measures_no_other_images(run, photos, tmp_path, change):
    copy = shutil.copytree(run.path, tmp_path / "copy")
    config = (copy / "config.yaml").read_text()
    assert change[0] in config
    (copy / "config.yaml").write_text(config.replace(*change))
    for overrides in ([], [f"dataset.root={photos}"]):
        with pytest.raises(UserError, match=rf"config\.yaml is not .*{change[0].split(':')[0]} \("):
            evaluate_student(copy, overrides)


def test_eval_shows_the_worst_classes_and_writes_all_of_it(run, kdzoo, tmp_path):
    """Three of nine bees look like cows: what the student makes of it is counted here again."""
    to = tmp_path / "measured"
    done = kdzoo("eval", str(run.path), "--json", "--to", str(to))
    assert done.code == 0
    (found,) = json.loads(done.out)
    last = run.read_result()["last"]["student"]
    assert {key: found[key] for key in last} == last
    bee = next(one for one in found["classes"] if one["name"] == "bee")
    assert [one["images"] for one in found["classes"]] == [9, 9, 9]
    assert 27 * last["top1"] == pytest.approx(sum(9 * one["recall"] for one in found["classes"]))
    assert found["confusions"][0] == {
        "label": "bee",
        "taken_for": "cow",
        "images": 3,
        "share": pytest.approx(100 / 3),
    }
    assert bee["recall"] == pytest.approx(200 / 3)
    assert sum(one["images"] for one in found["calibration"]) == 27
    assert json.loads((to / "measurement.json").read_text()) == found
    rows = list(csv.DictReader((to / "confusion.csv").open()))
    assert {"class": "bee", "taken_for": "cow", "images": "3"} in rows
    assert sum(int(row["images"]) for row in rows) == 27
    for name in ("confusion", "calibration"):
        assert (to / f"{name}.svg").read_text().startswith("<?xml")
        assert Image.open(to / f"{name}.png").width > 400
    short, whole = kdzoo("eval", str(run.path)).out, kdzoo("eval", str(run.path), "--all").out
    assert "class (1 of 3)" in short
    assert "66.67" in short
    assert "ant" not in short
    assert all(name in whole for name in COLOURS)
    assert max(map(len, (short + whole).splitlines())) <= 80


@pytest.mark.parametrize("name", ["measurement.json", "classes.csv"])
def test_files_of_something_else_are_not_written_over(name, run, kdzoo, tmp_path):
    (tmp_path / name).write_text('{"classes": 1}')
    done = kdzoo("eval", str(run.path), "--to", str(tmp_path))
    assert done.code == 2
    assert f"{tmp_path} has {name} of something else" in done.err.replace("\n", "")
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {name: '{"classes": 1}'}


def test_the_files_of_several_students_are_not_mixed(run, kdzoo, tmp_path):
    done = kdzoo("eval", str(run.path), str(run.path), "--to", str(tmp_path))
    assert done.code == 2
    assert "one student" in done.err
    assert list(tmp_path.iterdir()) == []
