"""A report made again from ``results.json`` alone is the report that was written with it."""

import json
import shutil

import pytest
from hand_made import finish, write_unsealed

from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import kept_report, make_report
from kdzoo.report.write import write_report

SPEC = """
title: Kept
methods: [independent, one, mbde]
backbones: [resnet8, resnet14]
datasets: [digits]
seeds: [0, 1]
published: true
baseline: one
ablations: [{of: mbde, label: no CD, method.regularizers: []}]
"""


@pytest.fixture
def spec(spec_file):
    path = spec_file(SPEC)
    for index, run in enumerate(read_matrix(path).runs):
        finish(run.config, 90.0 + index / 7)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a report whose run folders are gone."""
    folder = tmp_path_factory.mktemp("published")
    path = folder / "spec.yaml"
    path.write_text(f"out: {folder}\n{SPEC}")
    for index, run in enumerate(read_matrix(path).runs):
        finish(run.config, 90.0 + index / 7)
    write_report(make_report(path)[0], folder / "a b")
    shutil.rmtree(folder / "digits")
    return folder / "a b"


@pytest.fixture
def written(published, tmp_path):
    return shutil.copytree(published, tmp_path / "results" / "a b")


def _files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_every_file_is_the_same_again(written, kdzoo, tmp_path):
    assert kdzoo("report", str(written), "--to", str(tmp_path / "again")).code == 0
    assert _files(tmp_path / "again") == _files(written)
    assert len(_files(written)) > 8


def test_and_so_is_what_is_printed(spec, tmp_path, kdzoo):
    folder = tmp_path / "kept"
    first = kdzoo("report", str(spec), "--to", str(folder)).out
    again = kdzoo("report", str(folder / "results.json"), "--to", str(folder)).out
    assert again.partition("Wrote")[0] == first.partition("Wrote")[0]
    assert "2 of" not in again
    assert "no CD" in again


def test_a_report_of_a_folder_is_the_same_again_too(spec, tmp_path):
    runs = tmp_path / "digits"
    write_report(make_report(runs)[0], tmp_path / "first")
    write_report(kept_report(tmp_path / "first" / "results.json"), tmp_path / "second")
    assert _files(tmp_path / "first") == _files(tmp_path / "second")


def test_what_was_left_out_and_rows_without_runs_are_counted_as_before(spec, tmp_path):
    for run in read_matrix(spec).runs:
        if run.method == "one" or (run.method, run.seed) == ("mbde", 1):
            shutil.rmtree(run.folder.path)
    write_report(make_report(spec)[0], tmp_path / "first")
    write_report(kept_report(tmp_path / "first" / "results.json"), tmp_path / "second")
    first, second = _files(tmp_path / "first"), _files(tmp_path / "second")
    del first["report.html"], second["report.html"]  # it lists the folders of what was left out
    assert first == second
    assert b"10 runs; left out: 6 not run." in second["report.md"]
    assert b"| one | 0 |" in second["report.md"]


def test_beside_it_everything_is_made_again_but_results_json(written, kdzoo, tmp_path):
    before = _files(written)
    for name in before.keys() - {"results.json"}:
        (written / name).unlink()
    results = written / "results.json"
    stamp = results.stat().st_mtime_ns
    assert kdzoo("report", str(results)).code == 0
    assert {**_files(written), ".files.json": b""} == {**before, ".files.json": b""}
    assert results.stat().st_mtime_ns == stamp


def test_title_and_baseline_can_be_others(written):
    report = kept_report(written / "results.json", ["title=Other", "baseline=independent"])
    assert (report.title, report.baseline) == ("Other", "independent")
    assert {row.compared_with for row in report.sections[0].methods} == {"independent"}


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_baseline_that_is_not_there_is_refused_by_the_name_of_the_file(written, kdzoo, by_hand):
    file, change = written / "results.json", [] if by_hand else ["baseline=two"]
    if by_hand:
        write_unsealed(file, {**json.loads(file.read_text()), "baseline": "two"})
    done = kdzoo("report", str(file), *change)
    assert done.code == 2
    assert f"{file}: baseline: There is no method 'two'" in " ".join(done.err.split())


def _older(written):
    """As versions wrote it that kept a list of runs without curves."""
    file = written / "results.json"
    runs = json.loads(file.read_text())["runs"]
    for run in runs:
        del run["curve"]
    file.write_text(json.dumps(runs))
    return file


def test_an_older_one_has_its_tables_and_says_that_curves_are_missing(written, kdzoo, tmp_path):
    older = _older(written)
    assert kdzoo("report", str(older), "--to", str(tmp_path / "again")).code == 0
    text = (tmp_path / "again" / "report.md").read_text()
    assert "**Learning curves**: not kept of 16 runs" in text
    assert "# a b\n" in text
    assert "part1-curves.svg" not in text
    assert "part1-cost.svg" in text
    assert "| independent | 2 | 90.57 ± 0.81 |" in text


def test_an_older_one_never_replaces_the_plots_beside_it(written, kdzoo):
    older, before = _older(written), _files(written)
    done = kdzoo("report", str(older))
    assert done.code == 2
    assert "learning curves" in done.err
    assert "--to" in done.err
    assert "mbde" in done.out  # the tables are printed all the same
    assert _files(written) == before


def test_a_folder_with_runs_in_it_is_one_of_runs(spec, tmp_path, kdzoo):
    write_report(make_report(spec)[0], tmp_path / "digits")
    finish(read_matrix(spec, ["seeds=[7]"]).runs[0].config, 50.0)
    assert "17 runs" in kdzoo("report", str(tmp_path / "digits")).out


def _set(*place, to):
    def change(results):
        for key in place[:-1]:
            results = results[key]
        results[place[-1]] = to

    return change


STUDENT = ("runs", 0, "result", "last", "student", "top1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(*STUDENT, to=float("nan")), "runs.0.result.last.student.top1"),
        (_set(*STUDENT, to=-1.0), "runs.0.result.last.student.top1"),
        (_set(*STUDENT, to="90"), "runs.0.result.last.student.top1"),
        (_set("runs", 0, "curve", 1, "student", to=200.0), "runs.0.curve.1.student"),
        (_set("runs", 0, "curve", 1, "epoch", to=1), "curve are not in order"),
        (_set("runs", 0, "curve", 4, "epoch", to=99), "more than it has"),
        (_set("runs", 0, "result", "seed", to=1), "is in it twice"),
        (_set("runs", 0, "labels", "method", to="x"), "is in none of its sections"),
        (_set("runs", 0, "identity", to={}), "its identity, cannot be read"),
        (_set("left_out", to={"gone": 1}), "left_out"),
        (_set("left_out", to={"failed": -1}), "left_out"),
        (_set("runs", to=3), "runs"),
        (lambda results: results.pop("runs"), "runs"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_place(written, kdzoo, change, said):
    file = written / "results.json"
    results = json.loads(file.read_text())
    change(results)
    write_unsealed(file, results)
    before = _files(written)
    done = kdzoo("report", str(written))
    assert done.code == 2
    assert str(file) in done.err.replace("\n", "")
    assert said in done.err
    assert _files(written) == before


@pytest.mark.parametrize("command", ["report", "verify"])
@pytest.mark.parametrize(
    "change",
    [
        _set(*STUDENT, to=90.0 + 1e-12),
        _set("runs", 0, "environment", "commit", to="fedcba987654"),
        _set("runs", 3, "curve", 0, "student", to=1.0),
        _set("left_out", to={"failed": 1}),
        _set("sha256", to="0" * 64),
        _set("more", to=None),
        lambda results: results["runs"].pop(),
        lambda results: results["sections"][0]["rows"].pop(),
    ],
)
def test_a_changed_file_is_refused_until_somebody_vouches_for_it(written, kdzoo, command, change):
    file = written / "results.json"
    results = json.loads(file.read_text())
    change(results)
    file.write_text(json.dumps(results))
    done = kdzoo(command, str(written))
    assert done.code == 2
    assert f"{file} is damaged, or somebody has changed it" in " ".join(done.err.split())
    assert "take the checksum out, 'sha256' in its second line" in " ".join(done.err.split())
    write_unsealed(file, results)
    assert "its checksum is another" not in kdzoo(command, str(written)).err


def test_the_checksum_is_a_line_that_can_be_deleted(written, kdzoo):
    file = written / "results.json"
    lines = file.read_text().splitlines(keepends=True)
    assert "sha256" in lines[1]
    edited = "".join(lines[:1] + lines[2:]).replace('"title": "Kept"', '"title": "Mine"')
    file.write_text(edited)
    done = kdzoo("report", str(written))
    assert done.code == 0
    assert (written / "report.md").read_text().startswith("# Mine")


def test_a_key_that_is_there_twice_is_refused(written, kdzoo):
    file = written / "results.json"
    file.write_text('{"title": "another", "runs": [],' + file.read_text()[1:])
    done = kdzoo("report", str(written))
    assert done.code == 2
    assert "the key 'title' is there twice" in " ".join(done.err.split())


def test_how_the_file_is_laid_out_is_no_change(written, kdzoo):
    file = written / "results.json"
    results = json.loads(file.read_text())
    file.write_text(json.dumps(dict(reversed(results.items()))))
    assert kdzoo("report", str(written)).code == 0


@pytest.mark.parametrize("content", ["", "{", '"text"', "3", "null"])
def test_a_truncated_or_foreign_file_is_refused(written, kdzoo, content):
    (written / "results.json").write_text(content)
    done = kdzoo("report", str(written))
    assert done.code == 2
    assert "results.json" in done.err
    assert "Traceback" not in done.err


def test_a_file_that_is_not_there_is_refused(tmp_path, kdzoo):
    done = kdzoo("report", str(tmp_path / "results.json"))
    assert done.code == 2
    assert "There is no file" in done.err
