"""A bench goes on from what ``results.json`` files keep, and takes no other run for its own."""

import io
import json
import shutil

import pytest
from hand_made import finish, write_unsealed
from rich.console import Console

from kdzoo.bench.board import State
from kdzoo.bench.forecast import seconds_left
from kdzoo.bench.kept import refuse_to_lose
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.runner import run_bench
from kdzoo.cli.bench import make_report
from kdzoo.component import ComponentConfig
from kdzoo.errors import UserError
from kdzoo.registry import launchers
from kdzoo.report.write import write_report

SPEC = """
methods: [independent, one]
backbones: [resnet8]
datasets: [digits]
seeds: [0, 1]
launcher: at_once
"""
ASKED = []


@launchers.register("at_once")
class AtOnce:
    class Config(ComponentConfig):
        name: str = "at_once"

    slots, why = 1, "as it was told"

    def __init__(self, config, jobs, configs):
        pass

    def carry_out(self, config, folder, needs, slot):
        ASKED.append((config.method.name, config.seed))
        assert all((need.path / "student.safetensors").is_file() for need in needs)
        finish(config, 80.0 + config.seed)

    def stop(self):
        pass


@pytest.fixture(autouse=True)
def nothing_asked():
    ASKED.clear()


def bench(path, *overrides):
    output = io.StringIO()
    board = run_bench(read_matrix(path, overrides), Console(file=output, width=300))
    return board, output.getvalue()


def finish_runs(path, *wanted, at=90.0):
    """Finished folders of the runs of these methods and seeds."""
    for run in read_matrix(path).runs:
        if (run.config.method.name, run.seed) in wanted:
            finish(run.config, at + run.seed)


def lose_disk(tmp_path):
    shutil.rmtree(tmp_path / "digits")


def keep(path, folder):
    write_report(make_report(path)[0], folder)
    return folder / "results.json"


def figures(path, *overrides):
    runs = make_report(path, overrides)[0].runs
    return {(run.method, run.seed): run.result.last.student.top1 for run in runs}


@pytest.fixture
def spec(spec_file, tmp_path):
    """Of four runs, the first seed's two are kept, and the disk is a new one."""
    path = spec_file(SPEC)
    finish_runs(path, ("independent", 0), ("one", 0))
    keep(path, tmp_path / "kept")
    lose_disk(tmp_path)
    path.write_text(path.read_text() + "kept: kept\n")
    return path


def test_what_is_kept_is_not_trained_again(spec, tmp_path):
    board, said = bench(spec)
    assert ASKED == [("independent", 1), ("one", 1)]
    assert board.count(State.FINISHED) == 4
    assert f"2 of 4 runs are kept in {tmp_path / 'kept' / 'results.json'}." in said
    assert "2 of 4 runs are there already." in said
    assert figures(spec) == {
        ("independent", 0): 90.0,
        ("one", 0): 90.0,
        ("independent", 1): 81.0,
        ("one", 1): 81.0,
    }


def test_the_final_tables_have_both(spec, kdzoo):
    done = kdzoo("bench", str(spec))
    assert done.code == 0
    assert "85.50 ± 6.36" in done.out
    assert "4 runs; none failed." in done.out


def test_a_report_writes_the_union_back_with_each_run_s_environment(spec, tmp_path):
    file = tmp_path / "kept" / "results.json"
    results = json.loads(file.read_text())
    results["runs"][0]["environment"]["commit"] = "fedcba987654"
    write_unsealed(file, results)
    bench(spec)
    keep(spec, tmp_path / "kept")
    runs = json.loads(file.read_text())["runs"]
    commits = [(one["result"]["seed"], one["environment"]["commit"]) for one in runs]
    assert commits[:2] == [(0, "fedcba987654"), (1, "0123456789ab")]
    ASKED.clear()
    lose_disk(tmp_path)
    assert bench(spec)[0].count(State.FINISHED) == 4
    assert ASKED == []


def test_the_files_are_those_of_the_folders(spec_file, tmp_path):
    path = spec_file(SPEC)
    finish_runs(path, ("independent", 0), ("one", 0), ("independent", 1), ("one", 1))
    keep(path, tmp_path / "kept")
    lose_disk(tmp_path)
    path.write_text(path.read_text() + "kept: [kept/results.json]\n")
    keep(path, tmp_path / "again")
    for file in (tmp_path / "kept").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_kept_is_beside_the_spec_and_on_the_command_line_where_one_is(spec, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    assert len(figures(spec)) == 2
    assert len(figures(spec, "kept=../kept/results.json")) == 2
    assert figures(spec, "kept=kept") == {}
    assert figures(spec, "kept=[]") == {}


@pytest.mark.parametrize("nothing", ["[]", "null", "None", "~", ""])
def test_nothing_may_be_kept(nothing, spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "null").symlink_to("kept")  # a folder of that name is not what is meant
    assert figures(spec, f"kept={nothing}") == {}
    spec.write_text(spec.read_text().replace("kept: kept", f"kept: {nothing}"))
    assert figures(spec) == {}


@pytest.mark.parametrize("change", ["seed", "setting", "data", "network", "code"])
def test_another_run_is_not_taken_and_that_is_said(spec, tmp_path, change, kdzoo):
    file = tmp_path / "kept" / "results.json"
    results = json.loads(file.read_text())
    identity = results["runs"][1]["identity"]
    match change:
        case "seed":
            identity["settings"]["seed"] = results["runs"][1]["result"]["seed"] = 3
        case "setting":
            identity["settings"]["epochs"] += 1
        case "data":
            identity["data"]["splits"]["train"]["images"] = "0" * 16
        case "network":
            identity["networks"][0]["tensors"] = "0" * 16
        case "code":
            identity["code"] = {"method one": "0" * 16}
    write_unsealed(file, results)
    before = file.read_bytes()
    assert figures(spec) == {("independent", 0): 90.0}
    _, said = bench(spec)
    assert ("one", 0) in ASKED
    assert ("independent", 0) not in ASKED
    assert f"For 1 of the runs in {file}, this spec has no place." in said
    assert "1 of 4 runs are kept in" in said
    done = kdzoo("report", str(spec), "--to", str(tmp_path / "kept"))
    assert "1 kept and not asked for" in done.out
    assert done.code == 2
    assert "would be lost" in done.err
    assert file.read_bytes() == before
    assert kdzoo("report", str(spec), "--to", str(tmp_path / "other")).code == 0


def test_a_result_under_another_run_s_identity_is_damaged(spec, tmp_path):
    file = tmp_path / "kept" / "results.json"
    results = json.loads(file.read_text())
    results["runs"][1]["result"]["seed"] = 3
    write_unsealed(file, results)
    _, said = bench(spec)
    assert ("one", 0) in ASKED
    assert "its result is that of another run than its identity" in said
    assert figures(spec)["one", 0] == 80.0


def test_a_folder_without_a_report_keeps_nothing_yet_and_that_is_said(spec_file, tmp_path, kdzoo):
    path = spec_file(SPEC + "kept: results/new\n")
    _, said = bench(path)
    assert len(ASKED) == 4
    missing = f"There is no {tmp_path / 'results/new/results.json'} yet"
    assert missing in said
    done = kdzoo("report", str(path), "--to", str(tmp_path / "results/new"))
    assert done.code == 0
    assert missing in " ".join(done.out.split())
    lose_disk(tmp_path)
    ASKED.clear()
    bench(path)
    assert ASKED == []


@pytest.mark.parametrize("command", ["bench", "report"])
@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("gone.json", "There is no file"),
        ("spec.yaml", "Not a directory"),
        ("[[a]]", "should be a path"),
        ("['']", "should be a path"),
        ("{a: b}", "should be a path"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(spec_file, kdzoo, command, kept, said):
    done = kdzoo(command, str(spec_file(SPEC + f"kept: {kept}\n")))
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert ASKED == []


@pytest.mark.parametrize("content", ["", "[", '[{"labels": 3}]', "{}"])
def test_a_damaged_file_stops_the_bench_before_the_first_run(spec, tmp_path, kdzoo, content):
    file = tmp_path / "kept" / "results.json"
    file.write_text(content)
    done = kdzoo("bench", str(spec))
    assert done.code == 2
    assert str(file) in done.err.replace("\n", "")
    assert ASKED == []


@pytest.mark.parametrize("command", ["bench", "report"])
def test_a_changed_figure_is_not_gone_on_from(spec, tmp_path, kdzoo, command):
    file = tmp_path / "kept" / "results.json"
    results = json.loads(file.read_text())
    results["runs"][0]["result"]["last"]["student"]["top1"] = 99.0
    file.write_text(json.dumps(results))
    done = kdzoo(command, str(spec))
    assert done.code == 2
    assert "somebody has changed it" in " ".join(done.err.split())
    assert ASKED == []


def test_the_folder_comes_first_and_other_figures_are_said(spec, tmp_path):
    finish_runs(spec, ("independent", 0), at=90.0)
    finish_runs(spec, ("one", 0), at=70.0)
    report = make_report(spec)[0]
    assert figures(spec) == {("independent", 0): 90.0, ("one", 0): 70.0}
    (twice,) = [one for one in report.left_out if one.state == "twice"]
    assert twice.folder == tmp_path / "kept" / "results.json"
    assert "(student 90.00 % and 70.00 %)" in twice.reason
    _, said = bench(spec)
    assert "0 of 4 runs are kept" in said
    assert "2 of 4 runs are there already" in said


def test_of_a_damaged_folder_the_kept_run_stands_in_and_the_damage_is_said(spec):
    finish_runs(spec, ("one", 0), at=70.0)
    run = read_matrix(spec).runs[1]
    run.folder.metrics.write_text("")
    bench(spec)
    assert ("one", 0) not in ASKED
    report = make_report(spec)[0]
    assert figures(spec)["one", 0] == 90.0
    assert [one.folder for one in report.left_out] == [run.folder.path]


def test_of_two_files_with_one_run_the_first_counts_once(spec, tmp_path):
    second = shutil.copytree(tmp_path / "kept", tmp_path / "second") / "results.json"
    spec.write_text(spec.read_text().replace("kept: kept", "kept: [kept, second, ./kept]"))
    report = make_report(spec)[0]
    assert len(report.runs) == 2
    assert report.counts == "2 runs; left out: 2 not run."
    results = json.loads(second.read_text())
    results["runs"][0]["result"]["last"]["student"]["top1"] = 12.5
    write_unsealed(second, results)
    report = make_report(spec)[0]
    assert figures(spec)["independent", 0] == 90.0
    assert report.counts == "2 runs; left out: 1 there twice, 2 not run."


def test_the_seconds_of_another_machine_make_no_forecast(spec):
    board, _ = bench(spec)
    for entry in board.entries:
        if entry.kept is None:
            entry.state = State.WAITING
    assert seconds_left(board) is None


TAUGHT = """
methods: [independent, kd]
backbones: [resnet8]
datasets: [digits]
seeds: [0]
launcher: at_once
kept: kept
"""


def test_a_kept_run_needs_no_teacher(spec_file, tmp_path):
    path = spec_file(TAUGHT)
    finish_runs(path, ("kd", 0))
    keep(path, tmp_path / "kept")
    lose_disk(tmp_path)
    path.write_text(path.read_text().replace("[independent, kd]", "[kd]"))
    bench(path)
    assert ASKED == []


def test_a_teacher_of_which_the_figures_alone_are_kept_is_trained_again(spec_file, tmp_path):
    path = spec_file(TAUGHT)
    finish_runs(path, ("independent", 0))
    keep(path, tmp_path / "kept")
    lose_disk(tmp_path)
    board, said = bench(path)
    assert ASKED == [("independent", 0), ("kd", 0)]
    assert "kd / seed 0 needs its student, and only its figures are kept." in said
    assert board.count(State.FINISHED) == board.count(*State) == 2
    assert figures(path) == {("independent", 0): 80.0, ("kd", 0): 80.0}


def test_a_taught_run_in_its_folder_needs_no_kept_teacher(spec_file, tmp_path):
    path = spec_file(TAUGHT)
    finish_runs(path, ("independent", 0))
    keep(path, tmp_path / "kept")
    lose_disk(tmp_path)
    finish_runs(path, ("kd", 0))
    bench(path)
    assert ASKED == []


def test_kept_runs_without_identities_match_nothing(spec, tmp_path):
    file = tmp_path / "kept" / "results.json"
    runs = json.loads(file.read_text())["runs"]
    for run in runs:
        del run["identity"]
    file.write_text(json.dumps(runs))
    report = make_report(spec)[0]
    assert report.counts == "0 runs; left out: 4 not run, 2 kept and not asked for."
    with pytest.raises(UserError, match="would be lost"):
        refuse_to_lose(file, report.runs)


def test_a_misspelt_place_does_not_cost_what_is_kept(spec, tmp_path, kdzoo):
    file = tmp_path / "kept" / "results.json"
    before = file.read_bytes()
    done = kdzoo("report", str(spec), f"kept={tmp_path / 'typo'}", "--to", str(file.parent))
    assert done.code == 2
    assert "would be lost: digits / resnet8 / independent / seed 0. It is one of 2." in done.err
    assert file.read_bytes() == before


def test_figures_that_are_not_shown_are_not_written_over(spec, tmp_path, kdzoo):
    """Of two files that keep one run, and of a run that does not fit its identity."""
    file = tmp_path / "kept" / "results.json"
    other = tmp_path / "other" / "results.json"
    shutil.copytree(file.parent, other.parent)
    results = json.loads(other.read_text())
    results["runs"][0]["result"]["last"]["student"]["top1"] = 99.0
    write_unsealed(other, results)
    both = f"kept=[{file.parent}, {other.parent}]"
    assert kdzoo("report", str(spec), both, "--to", str(other.parent)).code == 2
    assert json.loads(other.read_text()) == results
    results["runs"][0]["result"]["method"] = "byot"
    write_unsealed(other, results)
    assert kdzoo("report", str(spec), f"kept={other}", "--to", str(other.parent)).code == 2
    assert json.loads(other.read_text()) == results


def test_a_report_that_left_kept_runs_out_can_be_made_again(spec, tmp_path, kdzoo):
    elsewhere = tmp_path / "elsewhere"
    first = kdzoo("report", str(spec), "methods=[independent]", "--to", str(elsewhere))
    assert "1 kept and not asked for" in first.out
    assert first.code == 0
    assert kdzoo("report", str(elsewhere)).code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.append(dict(rows[0])), "a row of its sections is in it twice"),
        (lambda rows: rows[1].update(of="nope"), "varies a method that has no row"),
        (lambda rows: rows[1].update(of=rows[1]["method"]), "varies a method that has no row"),
    ],
)
def test_rows_that_cannot_be_are_refused(spec, tmp_path, kdzoo, change, said):
    file = tmp_path / "kept" / "results.json"
    results = json.loads(file.read_text())
    change(results["sections"][0]["rows"])
    write_unsealed(file, results)
    done = kdzoo("report", str(file), "--to", str(tmp_path / "again"))
    assert done.code == 2
    assert said in done.err
