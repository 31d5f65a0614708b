"""Reports are made from run folders alone, and their figures are right."""

import csv
import io
import json
import os
import re
from importlib import resources

import numpy as np
import pytest
import yaml
from hand_made import finish
from scipy import stats

import kdzoo.report
from kdzoo import registry
from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report
from kdzoo.report.published import published_figures
from kdzoo.report.render.csv import csv_report
from kdzoo.report.write import write_report

SPEC = """
title: Three methods
methods: [independent, one, mbde]
backbones: [resnet8]
datasets: [digits]
run: {epochs: 5}
ablations: [{of: mbde, label: no CD, method.regularizers: []}]
"""
STUDENTS = {
    "independent": [90.0, 91.0, 90.5],
    "one": [92.0, 92.5, 92.8],
    "mbde": [91.0, 91.2, 93.9],
    "no CD": [90.7, 91.9, 93.1],
}


@pytest.fixture
def spec(spec_file):
    path = spec_file(SPEC)
    for run in read_matrix(path).runs:
        finish(run.config, STUDENTS[run.method][run.seed])
    return path


def _lines(report):
    return {line["method"]: line for line in csv.DictReader(io.StringIO(csv_report(report)))}


def test_figures_equal_an_independent_computation(spec):
    lines = _lines(make_report(spec)[0])
    baseline = STUDENTS["independent"]
    for method, students in STUDENTS.items():
        line = lines[method]
        assert float(line["student"]) == pytest.approx(np.mean(students))
        assert float(line["student_std"]) == pytest.approx(np.std(students, ddof=1))
        assert int(line["n"]) == 3
        compared = STUDENTS["mbde"] if method == "no CD" else baseline
        if students is not compared:
            # Of one and mbde, the one with the lower p is held against half of 5 %.
            confidence = 0.975 if method == "one" else 0.95
            low, high = stats.ttest_rel(students, compared).confidence_interval(confidence)
            assert float(line["student_difference_low"]) == pytest.approx(low)
            assert float(line["student_difference_high"]) == pytest.approx(high)
            assert line["student_difference_excludes_0"] == str(bool(low > 0 or high < 0))
    # conftest's runs: an ensemble one point above the student, peers 0.2 apart below it.
    assert float(lines["one"]["ensemble"]) == pytest.approx(np.mean(STUDENTS["one"]) + 1)
    assert float(lines["one"]["mean_peer"]) == pytest.approx(np.mean(STUDENTS["one"]) - 0.2)
    assert lines["independent"]["ensemble"] == ""
    assert float(lines["one"]["best"]) == pytest.approx(np.mean(STUDENTS["one"]) + 0.3)
    assert float(lines["one"]["peak_memory"]) == 700 * 2**20


def test_the_terminal_shows_every_figure_at_any_width(spec, kdzoo, monkeypatch):
    for columns in ("60", "80", "200"):
        monkeypatch.setattr("kdzoo.cli.app.out.width", int(columns))
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


def test_another_baseline_can_be_chosen(spec):
    lines = _lines(make_report(spec, ["baseline=one"])[0])
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


def test_missing_runs_lower_n_and_are_counted(spec):
    runs = read_matrix(spec).runs
    gone = next(run for run in runs if (run.method, run.seed) == ("one", 1))
    gone.folder.result.unlink()
    report, _ = make_report(spec)
    line = _lines(report)["one"]
    assert (line["n"], line["student_difference_n"]) == ("2", "2")
    assert float(line["student"]) == pytest.approx(np.mean([92.0, 92.8]))
    assert report.count("unfinished") == 1


@pytest.mark.parametrize(
    "content",
    [
        '{"method": "one", "last": {"student"',
        "",
        "[1, 2]",
        '"text"',
        '{"accuracy": 0.9}',
        '{"last": {"student": {"top1": NaN}}}',
    ],
)
def test_a_broken_or_foreign_result_is_named_and_left_out(spec, tmp_path, kdzoo, content):
    run = next(run for run in read_matrix(spec).runs if run.method == "mbde")
    run.folder.result.write_text(content)
    report, _ = make_report(spec)
    assert _lines(report)["mbde"]["n"] == "2"
    (left_out,) = report.left_out
    assert (left_out.state, left_out.folder) == ("damaged", run.folder.path)
    done = kdzoo("report", str(spec))
    assert done.code == 0
    assert run.folder.path.name in done.out
    assert "1 damaged or foreign" in done.out
    page = (tmp_path / "report-spec" / "report.html").read_text()
    assert str(run.folder.path) in page


def test_a_result_of_another_run_is_left_out(spec):
    one, other = [run for run in read_matrix(spec).runs if run.method == "one"][:2]
    one.folder.result.write_bytes(other.folder.result.read_bytes())
    report, _ = make_report(spec)
    assert [out.folder for out in report.left_out] == [one.folder.path]
    assert "do not belong together" in report.left_out[0].reason
    assert _lines(report)["one"]["n"] == "2"


@pytest.mark.parametrize("damage", ["half", "a line fewer", "a figure", "no records", "missing"])
def test_a_run_with_damaged_metrics_is_named_and_left_out(spec, damage):
    run = read_matrix(spec).runs[0]
    whole = run.folder.metrics.read_text()
    damaged = {
        "half": whole[: len(whole) // 2],
        "a line fewer": "".join(whole.splitlines(keepends=True)[:-1]),
        "a figure": whole.replace("0.5", "0.6"),
        "no records": "[]\nnull\n" * 5,
    }
    if damage == "missing":
        run.folder.metrics.unlink()
    else:
        run.folder.metrics.write_text(damaged[damage])
    report, _ = make_report(spec)
    assert _lines(report)["independent"]["n"] == "2"
    (left_out,) = report.left_out
    assert left_out.state == "damaged"
    assert str(run.folder.metrics) in left_out.reason


@pytest.mark.parametrize("figure", ["1e308", "1" + "0" * 400, "9" * 5000, "NaN", '"97"', "-1"])
@pytest.mark.parametrize("sealed", [True, False])
def test_an_odd_figure_is_named_and_left_out(spec, figure, sealed):
    run = read_matrix(spec).runs[0]
    result = run.folder.read_result()
    if not sealed:  # as results of earlier versions are
        del result["sha256"]
    result["last"]["student"]["top1"] = 12345
    run.folder.result.write_text(json.dumps(result).replace("12345", figure))
    report, _ = make_report(spec)
    assert [out.state for out in report.left_out] == ["damaged"]
    assert str(run.folder.result) in report.left_out[0].reason


def test_a_result_beside_another_config_is_left_out(spec):
    run = read_matrix(spec).runs[0]
    text = run.folder.config.read_text()
    run.folder.config.write_text(text.replace("batch_size: ", "batch_size: 1"))
    (left_out,) = make_report(run.folder.path.parent)[0].left_out
    assert "another config" in left_out.reason


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


def test_published_figures_stand_beside_ours(spec_file, tmp_path):
    path = spec_file(
        "published: true\nmethods: [independent, one, {method: one, lr: 0.05}, kdcl]\n"
        "backbones: [resnet32]\ndatasets: [cifar100]\nseeds: [0]\n"
    )
    for run in read_matrix(path).runs:
        finish(run.config, 70.0)
    report, _ = make_report(path)
    write_report(report, tmp_path / "report")
    lines = _lines(report)
    one = lines["one"]
    assert float(one["published_yang2021_student"]) == pytest.approx(100 - 25.74)
    assert float(one["published_yang2021_ensemble"]) == pytest.approx(100 - 24.03)
    assert (one["published_wu2021_student"], one["published_wu2021_std"]) == ("73.79", "0.41")
    assert one["published_wu2021_ensemble"] == one["published_yang2021_std"] == ""
    assert float(lines["independent"]["student"]) == 70.0
    assert lines["one (lr=0.05)"]["published_yang2021_student"] == ""
    assert lines["one (lr=0.05)"]["published_wu2021_student"] == ""
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| Yang et al. 2021 % (ensemble) | Wu and Gong 2021 % |" in text
    row = next(line for line in text.splitlines() if line.startswith("| one | "))
    assert row.endswith("| 74.26 (75.97) | 73.79 ± 0.41 | \N{EN DASH} | \N{EN DASH} |")
    row = next(line for line in text.splitlines() if line.startswith("| independent | "))
    assert row.endswith("| 71.09 | \N{EN DASH} | 71.14 | 70.91 |")
    row = next(line for line in text.splitlines() if line.startswith("| kdcl | "))
    assert row.endswith("| \N{EN DASH} | 73.76 ± 0.34 | \N{EN DASH} | \N{EN DASH} |")
    sources = ("winycg/MCL-OKD", "cosine schedule", "AAAI 2021", "RepDistiller", "winycg/MCL (")
    for source in sources:
        assert source in text


def test_offline_figures_stand_beside_the_teacher_they_had(spec_file):
    path = spec_file(
        "published: true\nmethods: [{method: kd, method.teacher_backbone: resnet56}, kd]\n"
        "backbones: [resnet20]\ndatasets: [cifar100]\nseeds: [0]\n"
    )
    for cell in read_matrix(path).runs:
        finish(cell.config, 70.0)
    lines = _lines(make_report(path)[0])
    taught = lines["kd (teacher_backbone=resnet56)"]
    assert taught["published_tian2020_student"] == "70.66"
    assert lines["kd"]["published_tian2020_student"] == ""


def test_a_feature_term_is_compared_with_its_own_figure_and_with_no_other(spec_file):
    rows = (
        "{method: kd, method.teacher_backbone: resnet56}",
        "{method: {name: kd, teacher_backbone: resnet56, alpha: 0, feature_terms: [crd]}}",
        "{method: {name: kd, teacher_backbone: resnet56, feature_terms: [crd]}}",
        "{method: {name: kd, teacher_backbone: resnet56, alpha: 0, "
        "feature_terms: [{name: crd, weight: 1}]}}",
    )
    text = (
        f"published: true\nmethods: [{', '.join(rows)}]\n"
        "backbones: [resnet20]\ndatasets: [cifar100]\nseeds: [0]\n"
    )
    path = spec_file(text)
    for cell in read_matrix(path).runs:
        finish(cell.config, 70.0)
    lines = _lines(make_report(path)[0])
    assert [line["published_tian2020_student"] for line in lines.values()] == [
        "70.66",
        "71.16",
        "",
        "",
    ]


def test_what_a_spec_tells_every_method_hides_figures_of_the_method_without_it(spec_file):
    path = spec_file(
        "published: true\nmethods: [{method: kd, method.teacher_backbone: resnet56}]\n"
        "backbones: [resnet20]\ndatasets: [cifar100]\nseeds: [0]\n"
        "run: {method.feature_terms: [crd]}\n"
    )
    for cell in read_matrix(path).runs:
        finish(cell.config, 70.0)
    (line,) = _lines(make_report(path)[0]).values()
    assert "70.66" not in line.values()


def test_published_figures_are_of_networks_and_methods_that_there_are():
    tables = yaml.safe_load(resources.files(kdzoo.report).joinpath("published.yaml").read_text())
    for table in tables["tables"]:
        figures = table.get("error") or table["accuracy"]
        assert set(figures) <= set(registry.backbones.names())
        for backbone, methods in figures.items():
            for label, values in methods.items():
                name = label.partition(" (")[0]
                assert name in registry.methods.names()
                (figure,) = [
                    found
                    for found in published_figures(table["dataset"], backbone, label)
                    if found.key == table["key"]
                ]
                assert 60 < figure.student < 96
                assert len(values) <= 2


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
