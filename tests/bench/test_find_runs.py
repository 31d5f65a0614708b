"""How a report finds the runs of a spec, with and without their data at hand."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hand_made import finish
from PIL import Image

from kdzoo.bench.collect_matrix import collect_matrix, find_run
from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report
from kdzoo.compose import compose
from kdzoo.report.collect import collect_folder
from kdzoo.report.run_files import LeftOut
from kdzoo.report.write import write_report

SPEC = """
methods: [independent]
backbones: [resnet8]
datasets:
  - {label: first, dataset: imagefolder, dataset.root: ROOT/first}
  - {label: second, dataset: imagefolder, dataset.root: ROOT/second}
seeds: [0]
run: {epochs: 1, batch_size: 4, device: cpu}
"""


@pytest.fixture
def spec(tmp_path, spec_file):
    """Two image folders that differ in their pixels alone."""
    random = np.random.default_rng(0)
    for root in ("first", "second"):
        for split in ("train", "test"):
            for name in ("bee", "cow"):
                folder = tmp_path / root / split / name
                folder.mkdir(parents=True)
                for index in range(4):
                    pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{index}.png")
    return spec_file(SPEC.replace("ROOT", str(tmp_path)))


def _finish(planned, student):
    """A finished run where the bench would look for it."""
    made = finish(planned.config, student)
    folder = planned.folder
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made.path, folder.path)
    folder.identity.write_text(json.dumps(planned.identity.to_json()))
    return folder


@pytest.fixture
def done(spec):
    first, second = read_matrix(spec).runs
    return [_finish(first, 70.0), _finish(second, 80.0)]


def _figures(spec):
    runs = collect_matrix(read_matrix(spec)).runs
    return {run.dataset: run.result.last.student.top1 for run in runs}


def test_two_roots_of_a_spec_are_two_data_sets(spec, done):
    assert done[0].path != done[1].path
    assert done[0].path.parent == done[1].path.parent
    assert _figures(spec) == {"first": 70.0, "second": 80.0}


def test_runs_are_found_where_their_data_are_not_at_hand(spec, done, tmp_path):
    for root in ("first", "second"):
        shutil.rmtree(tmp_path / root)
    assert _figures(spec) == {"first": 70.0, "second": 80.0}


def test_a_run_on_data_of_another_place_is_not_taken_for_it(spec, done, tmp_path):
    shutil.rmtree(done[1].path)
    shutil.rmtree(tmp_path / "second")
    assert _figures(spec) == {"first": 70.0}
    (missing,) = collect_matrix(read_matrix(spec)).left_out
    assert missing.state == "not run"


def test_data_that_were_moved_are_known_again(spec, done, tmp_path):
    shutil.move(tmp_path / "first", tmp_path / "moved")
    spec.write_text(spec.read_text().replace(f"{tmp_path}/first", f"{tmp_path}/moved"))
    assert _figures(spec) == {"first": 70.0, "second": 80.0}


def test_of_two_runs_of_equal_settings_the_one_on_the_present_data_is_meant(spec, done, tmp_path):
    shutil.copy(tmp_path / "first/train/bee/0.png", tmp_path / "first/train/bee/1.png")
    changed = _finish(read_matrix(spec).runs[0], 75.0)
    assert changed.path != done[0].path
    assert _figures(spec) == {"first": 75.0, "second": 80.0}
    shutil.rmtree(tmp_path / "first")
    unclear = find_run(read_matrix(spec).runs[0])
    assert isinstance(unclear, LeftOut)
    assert all(str(folder.path) in unclear.reason for folder in (changed, done[0]))


def test_a_folders_report_tells_data_sets_apart_by_where_they_were(done, tmp_path):
    labels = {run.dataset: run.result.last.student.top1 for run in collect_folder(tmp_path).runs}
    assert labels == {
        f"imagefolder (root={tmp_path}/first)": 70.0,
        f"imagefolder (root={tmp_path}/second)": 80.0,
    }


def test_and_by_their_version_where_the_data_of_a_place_changed(spec, done, tmp_path):
    shutil.rmtree(done[1].path)
    shutil.copy(tmp_path / "first/train/bee/0.png", tmp_path / "first/train/bee/1.png")
    _finish(read_matrix(spec).runs[0], 75.0)
    labels = {run.dataset for run in collect_folder(tmp_path).runs}
    root = f"{tmp_path}/first"
    assert labels == {f"imagefolder (root={root})", f"imagefolder (root={root}, version 2)"}


def test_one_data_set_under_two_roots_is_one_section(spec, done, tmp_path):
    shutil.rmtree(done[1].path)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    copied = spec.read_text().replace(f"{tmp_path}/second", f"{tmp_path}/copy")
    spec.write_text(copied.replace("seeds: [0]", "seeds: [1]"))
    _finish(read_matrix(spec).runs[1], 72.0)
    collection = collect_folder(tmp_path)
    assert [dataset for dataset, _ in collection.sections] == ["imagefolder"]
    assert {run.seed for run in collection.runs} == {0, 1}


def test_a_bench_refuses_one_data_set_under_two_paths(spec, tmp_path, kdzoo):
    (tmp_path / "link").symlink_to(tmp_path / "first")
    spec.write_text(spec.read_text().replace(f"{tmp_path}/second", f"{tmp_path}/link"))
    done = kdzoo("bench", str(spec))
    assert done.code == 2
    assert "describe the same run" in done.err


def test_a_bench_without_its_data_stops_before_the_first_run(spec, tmp_path, kdzoo):
    shutil.rmtree(tmp_path / "second")
    done = kdzoo("bench", str(spec))
    assert done.code == 2
    assert "second / resnet8 / independent / seed 0" in done.err
    assert f"{tmp_path}/second" in done.err
    assert not list(tmp_path.rglob("config.yaml"))


def test_settings_that_differ_are_never_mixed_up(spec, done):
    assert compose(["epochs=2"]).identity() != compose(["epochs=3"]).identity()
    assert collect_matrix(read_matrix(spec, ["run.epochs=2"])).runs == []


@pytest.mark.parametrize("damage", ["epochs: 2\n", "", "[", None])
def test_a_run_whose_config_is_damaged_is_named_and_not_taken_for_one_that_never_ran(
    spec, done, damage
):
    if damage is None:
        done[0].config.unlink()
    else:
        done[0].config.write_text(damage)
    found = collect_matrix(read_matrix(spec))
    assert [run.dataset for run in found.runs] == ["second"]
    (left_out,) = found.left_out
    assert (left_out.folder, left_out.state) == (done[0].path, "damaged")
    assert "config" in left_out.reason


@pytest.fixture
def kept(spec, done, tmp_path):
    """Both runs, whose folders are gone, under a spec that names them as kept."""
    write_report(make_report(spec)[0], tmp_path / "kept")
    for folder in done:
        shutil.rmtree(folder.path)
    spec.write_text(f"{spec.read_text()}kept: kept\n")
    return spec


def _only_first(spec):
    lines = spec.read_text().splitlines()
    spec.write_text("\n".join(line for line in lines if "label: second" not in line))


def test_kept_runs_of_equal_settings_are_told_apart_by_their_data(kept):
    assert _figures(kept) == {"first": 70.0, "second": 80.0}


def test_and_not_taken_where_the_data_are_not_at_hand(kept, tmp_path):
    for root in ("first", "second"):
        shutil.rmtree(tmp_path / root)
    found = collect_matrix(read_matrix(kept))
    assert found.runs == []
    unmatched = [one.reason for one in found.left_out if one.state == "unmatched"]
    assert len(unmatched) == 2
    assert all("the data would tell" in reason for reason in unmatched)


def test_where_one_s_data_are_at_hand_the_other_is_clear(kept, tmp_path):
    shutil.rmtree(tmp_path / "second")
    assert _figures(kept) == {"first": 70.0, "second": 80.0}


def test_a_kept_run_of_its_settings_is_taken_where_the_data_are_not_at_hand(spec, done, tmp_path):
    _only_first(spec)
    write_report(make_report(spec)[0], tmp_path / "kept")
    for name in (done[0].path, done[1].path, tmp_path / "first"):
        shutil.rmtree(name)
    spec.write_text(f"{spec.read_text()}\nkept: kept\n")
    assert _figures(spec) == {"first": 70.0}


def test_a_kept_run_on_data_that_changed_since_is_not_taken(kept, tmp_path):
    shutil.copy(tmp_path / "first/train/bee/0.png", tmp_path / "first/train/bee/1.png")
    found = collect_matrix(read_matrix(kept))
    assert [run.dataset for run in found.runs] == ["second"]
    assert sorted(one.state for one in found.left_out) == ["not run", "unmatched"]


def _swap(first, second):
    aside = first.path.with_name("aside")
    first.path.rename(aside)
    second.path.rename(first.path)
    aside.rename(second.path)


TWO = "methods: [one]\nbackbones: [resnet8]\ndatasets: [digits]\nseeds: [0]\n"
TWO += "ablations: [{of: one, method.peers: 2}]\n"


def test_a_bench_takes_no_finished_run_for_another(spec_file, kdzoo):
    path = spec_file(TWO)
    runs = read_matrix(path).runs
    folders = [finish(run.config, student) for run, student in zip(runs, (70.0, 80.0), strict=True)]
    assert kdzoo("bench", str(path)).code == 0
    _swap(*folders)
    done = kdzoo("bench", str(path), "--json")
    assert done.code == 1
    said = done.err.replace("\n", "")
    assert all(f"{folder.path} holds a run with another config" in said for folder in folders)
    (section,) = json.loads(done.out)["sections"]
    assert [one["estimates"] for one in section["methods"]] == [{}]


@pytest.mark.parametrize("closed", ["the run", "all runs of the method"])
def test_a_folder_that_is_not_for_this_user_is_named(spec_file, kdzoo, monkeypatch, closed):
    path = spec_file(TWO.replace("[0]", "[0, 1]"))
    folders = [finish(run.config, 70.0).path for run in read_matrix(path).runs]
    private = folders[0] if closed == "the run" else folders[0].parent
    listdir, stat, read = os.listdir, os.stat, Path.read_bytes

    def refuse(path, inside=True):
        there = isinstance(path, str | Path) and Path(path).is_relative_to(private)
        if there and not (inside and Path(path) == private):
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", lambda path: refuse(path, False) or listdir(path))
    monkeypatch.setattr(os, "stat", lambda path, **kw: refuse(path) or stat(path, **kw))
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path) or read(path))
    left_out = json.loads(kdzoo("report", str(path), "--json").out)["left_out"]
    assert {(one["folder"], one["state"]) for one in left_out} == {(str(private), "damaged")}
    assert "cannot be read: Permission denied" in left_out[0]["reason"]
    done = kdzoo("bench", str(path))
    assert done.code == 1
    assert f"{folders[0]} cannot be read: Permission denied" in " ".join(done.err.split())
