"""Which runs are on disk, and how far they are."""

import errno
import json
import os
from pathlib import Path

import pytest


@pytest.fixture
def runs(finished, tmp_path):
    """Two finished runs, one that is unfinished and one that is damaged."""
    finished(97.0, method="one", seed=0)
    finished(95.0, method="mbde", seed=0, epochs=7)
    unfinished = finished(60.0, method="one", seed=1)
    unfinished.result.unlink()
    finished(50.0, method="dml", seed=2).result.write_text("{}")
    return tmp_path


def _listed(kdzoo, *arguments):
    return json.loads(kdzoo("runs", *map(str, arguments), "--json").out)


def test_every_run_is_listed_with_its_state_and_figures(kdzoo, runs):
    found = {(one["method"], one["seed"]): one for one in _listed(kdzoo, runs)}
    states = {key: one["state"] for key, one in found.items()}
    assert states == {
        ("one", 0): "finished",
        ("mbde", 0): "finished",
        ("one", 1): "unfinished",
        ("dml", 2): "damaged",
    }
    done = found["one", 0]
    assert (done["student"], done["ensemble"], done["epoch"]) == (97.0, 98.0, 5)
    assert found["one", 1]["student"] == pytest.approx(60 - 40 * 2.718281828**-5)


@pytest.mark.parametrize(
    ("filters", "seeds"),
    [
        (["method=one"], [0, 1]),
        (["method=one", "seed=1"], [1]),
        (["epochs=7"], [0]),
        (["backbone=resnet20", "dataset.name=digits", "seed=2"], [2]),
        (["lr=1e-1", "training.steps=none", "method=mbde"], [0]),
        (["method=kd"], []),
    ],
)
def test_filters_are_settings(kdzoo, runs, filters, seeds):
    assert sorted(one["seed"] for one in _listed(kdzoo, runs, *filters)) == seeds


def test_a_misspelt_filter_is_refused(kdzoo, runs):
    found = kdzoo("runs", str(runs), "metod=one")
    assert found.code == 2
    assert "method" in found.err


def test_runs_are_sorted_by_a_column_the_best_first(kdzoo, runs):
    students = [one["student"] for one in _listed(kdzoo, runs, "--sort", "student")]
    assert students == sorted(students, reverse=True)
    assert kdzoo("runs", str(runs), "--sort", "stundent").code == 2


def test_the_table_shows_folders_from_the_given_one_on(kdzoo, runs, monkeypatch):
    monkeypatch.setattr("kdzoo.cli.streams.out.width", 100)
    text = kdzoo("runs", str(runs), "method=mbde").out
    assert "digits/resnet20/mbde/seed0-" in text
    assert str(runs) not in text
    assert "95.00" in text
    monkeypatch.chdir(runs)
    assert kdzoo("runs").code == 2  # there is no folder called runs
    assert kdzoo("runs", ".", "method=kd").out == "No run is like that.\n"


@pytest.mark.parametrize("width", [70, 45, 30])
def test_on_a_narrow_terminal_no_name_of_a_folder_is_broken_in_two(kdzoo, runs, monkeypatch, width):
    monkeypatch.setattr("kdzoo.cli.streams.out.width", width)
    (one,) = _listed(kdzoo, runs, "method=mbde")
    path = Path(one["folder"]).relative_to(runs)
    heading, *lines = kdzoo("runs", str(runs), "method=mbde").out.splitlines()
    assert max(map(len, [heading, *lines])) <= width
    assert ("student %" in heading) == (width >= 45)
    assert ("ensemble %" in heading) == (width == 70)
    pieces = [line.split("  ")[0].strip() for line in lines]
    assert "".join(pieces) == path.as_posix()
    assert len(pieces) > 1
    assert all(piece.endswith("/") for piece in pieces[:-1])


def test_links_are_followed_and_each_run_is_listed_once(kdzoo, finished, tmp_path):
    run = finished(97.0, method="one", seed=0).path
    there = tmp_path / "there"
    there.mkdir()
    (there / "a run").symlink_to(run)
    (there / "in a circle").symlink_to(there)
    (there / "nowhere").symlink_to(there / "nothing")
    (tmp_path / "a link that sorts first").symlink_to(run.parent)
    assert [one["folder"] for one in _listed(kdzoo, there)] == [str(there / "a run")]
    assert [one["folder"] for one in _listed(kdzoo, tmp_path)] == [str(run)]
    done = kdzoo("report", str(there), "--json")
    assert json.loads(done.out)["sections"][0]["methods"][0]["estimates"]["student"]["mean"] == 97.0


def test_a_folder_that_is_not_for_this_user_is_counted(kdzoo, finished, tmp_path, monkeypatch):
    run = finished(97.0, method="one", seed=0).path
    private = tmp_path / "private"
    private.mkdir()
    scandir, exists = os.scandir, Path.exists

    def refuse(path):
        if not isinstance(path, int) and Path(path).is_relative_to(private):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) or scandir(path))
    monkeypatch.setattr(Path, "exists", lambda self, **kw: refuse(self) or exists(self, **kw))
    states = {one["folder"]: one["state"] for one in _listed(kdzoo, tmp_path)}
    assert states == {str(run): "finished", str(private): "damaged"}
    (left_out,) = json.loads(kdzoo("report", str(tmp_path), "--json").out)["left_out"]
    assert left_out["folder"] == str(private)
    assert left_out["reason"] == "It cannot be read: Permission denied."


def test_a_result_of_another_seed_is_not_counted_as_one(kdzoo, finished, tmp_path):
    """Without a checksum, as by hand: a table would have one seed more than was trained."""
    folder = finished(97.0, method="one", seed=0)
    result = json.loads(folder.result.read_text())
    del result["sha256"], result["config"]
    folder.result.write_text(json.dumps(result))
    assert [one["state"] for one in _listed(kdzoo, tmp_path)] == ["finished"]
    folder.result.write_text(json.dumps({**result, "seed": 7}))
    assert [one["state"] for one in _listed(kdzoo, tmp_path)] == ["damaged"]
