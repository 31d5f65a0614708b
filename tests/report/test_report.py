"""Reports are made from run folders alone, and their figures are right."""

import json
import os
import re
import warnings

import numpy as np
import pytest
from full_disk import full_disk
from hand_made import finish
from scipy import stats

from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report
from kdzoo.errors import UserError
from kdzoo.report.write import write_report


def test_figures_equal_an_independent_computation(spec, lines_of, students):
    lines = lines_of(make_report(spec)[0])
    baseline = students["independent"]
    for method, figures in students.items():
        line = lines[method]
        assert float(line["student"]) == pytest.approx(np.mean(figures))
        assert float(line["student_std"]) == pytest.approx(np.std(figures, ddof=1))
        assert int(line["n"]) == 3
        compared = students["mbde"] if method == "no CD" else baseline
        if figures is not compared:
            # Of one and mbde, the one with the lower p is held against half of 5 %.
            confidence = 0.975 if method == "one" else 0.95
            low, high = stats.ttest_rel(figures, compared).confidence_interval(confidence)
            assert float(line["student_difference_low"]) == pytest.approx(low)
            assert float(line["student_difference_high"]) == pytest.approx(high)
            assert line["student_difference_excludes_0"] == str(bool(low > 0 or high < 0))
    # conftest's runs: an ensemble one point above the student, peers 0.2 apart below it.
    assert float(lines["one"]["ensemble"]) == pytest.approx(np.mean(students["one"]) + 1)
    assert float(lines["one"]["mean_peer"]) == pytest.approx(np.mean(students["one"]) - 0.2)
    assert lines["independent"]["ensemble"] == ""
    assert float(lines["one"]["best"]) == pytest.approx(np.mean(students["one"]) + 0.3)
    assert float(lines["one"]["peak_memory"]) == 700 * 2**20


def test_the_terminal_shows_every_figure_at_any_width(spec, kdzoo, monkeypatch):
    for columns in ("60", "80", "200"):
        monkeypatch.setattr("kdzoo.cli.streams.out.width", int(columns))
        text = kdzoo("report", str(spec)).out
        for figure in ("92.43 ± 0.40", "+1.93 [+0.49, +3.38] *", "91.90 ± 1.20", "700 ± 0"):
            assert figure in text, (columns, figure)
        assert all(len(line) <= int(columns) for line in text.splitlines() if "±" in line)


def test_markdown_marks_the_best_and_what_excludes_zero(spec, tmp_path):
    write_report(make_report(spec)[0], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| one | 3 | **92.43 ± 0.40** | +1.93 [+0.49, +3.38] \\* |" in text
    assert "| independent | 3 | 90.50 ± 0.50 | baseline |" in text
    assert "**Data**: digits: 1,437 training images, 360 for testing" in text
    assert "torch 2.15.0" in text
    assert "12 runs; none failed." in text
    assert "![digits · resnet8: learning curves](part1-curves.svg)" in text


def test_another_baseline_can_be_chosen(spec, lines_of):
    lines = lines_of(make_report(spec, ["baseline=one"])[0])
    assert float(lines["mbde"]["student_difference"]) == pytest.approx(-0.4, abs=0.01)
    assert lines["no CD"]["student_compared_with"] == "mbde"


def test_ablations_show_how_much_their_peers_differ(spec, tmp_path):
    write_report(make_report(spec)[0], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    table = text[text.index("ablations") :]
    assert "| ensemble % | disagreement % | L2 |" in table
    (row,) = [line for line in table.splitlines() if line.startswith("| no CD |")]
    assert row.endswith("| 4.57 ± 0.42 | 0.100 ± 0.000 |")


def test_a_misspelt_baseline_is_told_each_method_once(spec_file, kdzoo):
    path = spec_file(
        "methods: [independent, one]\nbackbones: [resnet8, resnet14]\ndatasets: [digits]\n"
    )
    for run in read_matrix(path).runs:
        finish(run.config, 90.0)
    done = kdzoo("report", str(path.parent / "digits"), "baseline=zzz")
    assert done.code == 2
    assert "independent, one" in " ".join(done.err.split())
    assert done.err.count("independent") == 1


def test_missing_runs_lower_n_and_are_counted(spec, lines_of):
    runs = read_matrix(spec).runs
    gone = next(run for run in runs if (run.method, run.seed) == ("one", 1))
    gone.folder.result.unlink()
    report, _ = make_report(spec)
    line = lines_of(report)["one"]
    assert (line["n"], line["student_difference_n"]) == ("2", "2")
    assert float(line["student"]) == pytest.approx(np.mean([92.0, 92.8]))
    assert report.count("unfinished") == 1


def test_specs_that_share_their_runs_have_reports_of_their_own(spec, tmp_path, kdzoo):
    other = tmp_path / "other.yaml"
    other.write_text(spec.read_text())
    for target in (spec, other, tmp_path):
        assert kdzoo("report", str(target)).code == 0
    for name in ("report-spec", "report-other", "report"):
        assert (tmp_path / name / "report.html").is_file()


def test_plots_of_an_earlier_report_are_removed_and_nothing_else(spec, tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    for name in ("part2-curves.svg", "part3-curves.svg", "mine.svg"):
        (folder / name).write_text("")
    (tmp_path / "outside.svg").write_text("")
    listed = ["part2-curves.svg", "../outside.svg", "mine.svg", 3]
    (folder / ".files.json").write_text(json.dumps(listed))
    written = write_report(make_report(spec)[0], folder)
    left = {path.name for path in folder.iterdir()} - {path.name for path in written}
    assert left == {"part3-curves.svg", "mine.svg", ".files.json"}
    assert (tmp_path / "outside.svg").exists()


def test_on_a_full_disk_the_earlier_report_stays_whole(spec, tmp_path):
    folder = tmp_path / "report"
    written = write_report(make_report(spec)[0], folder)
    for path in written:
        path.write_text(f"earlier {path.name}")
    (folder / "part7-curves.svg").write_text("earlier")
    (folder / ".files.json").write_text('["part7-curves.svg"]')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = make_report(spec)[0]
    with full_disk(10_000), pytest.raises(UserError, match="Cannot write to"):
        write_report(report, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_report(report, folder)
    assert not (folder / "part7-curves.svg").exists()
    assert "earlier" not in (folder / "report.md").read_text()


@pytest.mark.parametrize("name", ["report.md", "results.json", "part1-curves.svg"])
def test_files_of_something_else_are_not_written_over(spec, kdzoo, tmp_path, name):
    there = tmp_path / "thesis"
    there.mkdir()
    (there / name).write_text("mine")
    done = kdzoo("report", str(spec), "--to", str(there))
    assert done.code == 2
    assert f"{there} has {name} of something else" in done.err.replace("\n", "")
    assert [(one.name, one.read_text()) for one in there.iterdir()] == [(name, "mine")]


def test_a_report_takes_few_files_at_a_time(spec, tmp_path):
    resource = pytest.importorskip("resource")
    there, (_, hard) = tmp_path / "report", resource.getrlimit(resource.RLIMIT_NOFILE)
    write_report(make_report(spec)[0], there)
    before = {one.name: one.read_bytes() for one in there.iterdir()}
    abandoned = there / ".writing.abandoned.tmp"
    abandoned.mkdir()
    (abandoned / "report.md").write_text("half")
    highest = max(map(int, os.listdir("/proc/self/fd"))) + 5
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        write_report(make_report(spec)[0], there)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert {one.name: one.read_bytes() for one in there.iterdir()} == before


def test_labels_in_any_script_stand_in_the_plots_without_a_warning(spec_file, tmp_path):
    name = "方法 שיטה"
    path = spec_file(
        f"methods: [independent, {{method: one, label: {name}}}]\n"
        "backbones: [resnet8]\ndatasets: [digits]\n"
    )
    for run in read_matrix(path).runs:
        finish(run.config, 90.0 + run.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(make_report(path)[0], tmp_path / "report")
    for plot in ("curves", "cost"):
        assert name in (tmp_path / "report" / f"part1-{plot}.svg").read_text("utf-8")


def test_a_folder_needs_no_spec(spec, tmp_path, finished):
    finished(95.0, method={"name": "one", "temperature": 5}, backbone="resnet8", epochs=5)
    report, folder = make_report(tmp_path)
    assert folder == tmp_path
    labels = [row.label for row in report.sections[0].methods]
    assert labels[0] == "independent"
    assert {"one (temperature=3.0)", "one (temperature=5.0)"} <= set(labels)
    assert len([label for label in labels if label.startswith("mbde (")]) == 2


def test_the_footer_says_what_else_the_students_were_trained_and_averaged_with(finished, tmp_path):
    finished(95.0, method="one", backbone="resnet8")
    training = {"average": "ema", "label_smoothing": 0.1}
    finished(96.0, method="mbde", backbone="resnet8", training=training)
    footer = dict(make_report(tmp_path)[0].conditions)["Training"]
    other, usual = sorted(footer.split("; "), key=len, reverse=True)
    assert "averaged" not in usual
    assert ", averaged weights (ema), label smoothing 0.1 (1 run)" in other


def test_the_footer_says_how_many_test_images_were_trained_on_whichever_were_drawn(
    spec_file, tmp_path
):
    path = spec_file(
        "methods: [independent]\nbackbones: [resnet8]\ndatasets: [digits, cifar10]\n"
        "seeds: [0, 1, 2, 3]\n"
    )
    repeats = {"digits": [3, 1, None, 1200], "cifar10": [2, 2, 2, 2]}
    for run in read_matrix(path).runs:
        finish(run.config, 90.0, test_repeats=repeats[run.dataset][run.seed])
    data = dict(make_report(path)[0].conditions)["Data"]
    assert data == (
        "digits: 1,437 training images, 360 for testing (0 to 1,200 of them trained on) (4 runs); "
        "cifar10: 1,437 training images, 360 for testing (2 of them trained on) (4 runs)"
    )


def test_the_footer_leaves_out_versions_that_are_not_known(finished, tmp_path):
    folder = finished(95.0, method="one", backbone="resnet8")
    known = json.loads(folder.environment.read_text())
    unknown = {**known, "packages": {**known["packages"], "kdzoo": None}, "commit": None}
    folder.environment.write_text(json.dumps(unknown))
    footer = dict(make_report(tmp_path)[0].conditions)["Versions"]
    assert footer == "Python 3.11.7, torch 2.15.0, timm 1.0.31"


def test_copies_of_a_run_count_once(finished, tmp_path):
    folder = finished(90.0, method="one", backbone="resnet8")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.yaml", "metrics.jsonl", "result.json"):
        (copy / name).write_bytes((folder.path / name).read_bytes())
    report, _ = make_report(tmp_path)
    assert len(report.runs) == 1
    assert report.count("twice") == 1


def test_a_section_has_rows_of_the_methods_that_were_run_there(finished, tmp_path):
    for method in ("independent", "one"):
        finished(95.0, method=method, backbone="resnet8")
    finished(90.0, method="dml", backbone="resnet20")
    report, _ = make_report(tmp_path)
    rows = {section.backbone: [row.label for row in section.rows] for section in report.sections}
    assert rows == {"resnet20": ["dml"], "resnet8": ["independent", "one"]}


def test_a_run_of_which_little_is_left_is_said(finished, tmp_path):
    finished(90.0, method="one")
    unfinished = finished(80.0, method="dml")
    unfinished.result.unlink()
    unfinished.config.unlink()
    unfinished.config.symlink_to("gone.yaml")
    unfinished.identity.write_text("{}")
    other = finished(80.0, method="dml", seed=2)
    for name in (other.result, other.config, other.identity):
        name.unlink()
    other.config.mkdir()
    failed = finished(70.0, method="dml", seed=1)
    failed.result.unlink()
    failed.failure.unlink(missing_ok=True)
    os.mkfifo(failed.failure)  # reading it would wait for ever
    report, _ = make_report(tmp_path)
    assert len(report.runs) == 1
    said = {one.folder: (one.state, one.reason) for one in report.left_out}
    assert said[unfinished.path] == ("damaged", f"{unfinished.config} is no file.")
    assert said[other.path] == ("damaged", f"{other.config} is no file.")
    assert said[failed.path][0] == "failed"
    assert "the reason cannot be read" in said[failed.path][1]


def test_a_folder_without_runs_is_refused(tmp_path, kdzoo):
    (tmp_path / "empty").mkdir()
    assert "no run" in kdzoo("report", str(tmp_path / "empty")).err
    missing = kdzoo("report", str(tmp_path / "none"))
    assert (missing.code, "none" in missing.err) == (2, True)


def test_several_sections_have_an_overview(spec_file, tmp_path):
    path = spec_file(
        "methods: [independent, one]\nbackbones: [resnet8, resnet14]\ndatasets: [digits]\n"
    )
    for run in read_matrix(path).runs:
        finish(run.config, 90.0 + run.seed + (run.method == "one"))
    write_report(make_report(path)[0], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| method | digits · resnet8 | digits · resnet14 |" in text
    assert "| one | **92.00 ± 1.00** | **92.00 ± 1.00** |" in text


def test_a_folder_whose_data_sets_have_unequal_methods_has_an_overview(finished, tmp_path):
    finished(91.0, method="independent", backbone="resnet8")
    finished(93.0, method="one", backbone="resnet8")
    finished(92.0, method="independent", backbone="resnet14")
    write_report(make_report(tmp_path)[0], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| independent", "| one"))][:2]
    by_name = {row.split("|")[1].strip(): row for row in rows}
    assert "93.00" in by_name["one"]
    assert "\N{EN DASH}" in by_name["one"]
    assert "91.00" in by_name["independent"]
    assert "92.00" in by_name["independent"]


def test_the_same_runs_give_the_same_files(spec, tmp_path):
    first = write_report(make_report(spec)[0], tmp_path / "first")
    second = write_report(make_report(spec)[0], tmp_path / "second")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_results_are_kept_as_small_json(spec, tmp_path):
    write_report(make_report(spec)[0], tmp_path / "report")
    path = tmp_path / "report" / "results.json"
    kept = json.loads(path.read_text())
    assert len(kept["runs"]) == 12
    assert kept["runs"][0]["labels"] == {
        "dataset": "digits",
        "backbone": "resnet8",
        "method": "independent",
    }
    assert path.stat().st_size < 65_000


def test_time_and_memory_are_given_as_ratios_to_the_baselines(spec_file, tmp_path):
    path = spec_file("methods: [independent, one]\nbackbones: [resnet8]\ndatasets: [digits]\n")
    for run in read_matrix(path).runs:
        folder = finish(run.config, 90.0 + run.seed)
        result = json.loads(folder.result.read_text())
        factor = 1.5 if run.method == "one" else 1.0
        result |= {"seconds": 40.0 * factor, "peak_memory": int(2**30 * factor)}
        del result["sha256"]
        folder.result.write_text(json.dumps(result))
    write_report(make_report(path)[0], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    costs = text.split("calibration, diversity and cost")[1]
    assert "| time ratio | memory ratio |" in costs
    assert [line[-15:] for line in costs.splitlines() if line.startswith(("| ind", "| one"))] == [
        "| 1.00 | 1.00 |",
        "| 1.50 | 1.50 |",
    ]


def test_the_peers_curves_are_those_of_the_runs(spec, tmp_path):
    report = make_report(spec)[0]
    write_report(report, tmp_path / "report")
    svg = (tmp_path / "report" / "part1-peers.svg").read_text()
    said = dict(re.findall(r"<title>(\w+, [\w ]+): ([\d.]+) % at the end</title>", svg))
    for method in ("one", "mbde"):
        last = [run.curve[-1] for run in report.runs if run.method == method]
        for which in ("student", "mean_peer", "ensemble"):
            mean = np.mean([getattr(point, which) for point in last])
            shown = float(said[f"{method}, {which.replace('_', ' ')}"])
            assert shown == pytest.approx(mean, abs=0.006)
    # plain training, which has no ensemble, stands beside each
    assert {name for name in said if "independent" in name} == {"independent, student"}
