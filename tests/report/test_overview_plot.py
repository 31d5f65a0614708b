"""What more training images are worth is drawn where that is what the sections differ in."""

import json
import re

import numpy as np
import pytest
from hand_made import finish, judged
from scipy import stats

from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report
from kdzoo.report.overview_plots import overview_plots
from kdzoo.report.write import write_report

SIZES = {"few": 250, "some": 500, "many": 1000}
SPEC = """
methods: [independent, one, mbde]
backbones: [resnet8]
datasets:
  - {label: many, dataset.name: digits, dataset.train_subset: 1000}
  - {label: few, dataset.name: digits, dataset.train_subset: 250}
  - {label: some, dataset.name: digits, dataset.train_subset: 500}
"""
GAINS = {"independent": [0, 0, 0], "one": [1, 2, 6], "mbde": [0.5, 0.5, 0.65]}


def _student(run):
    of_size = {"few": 40.0, "some": 60.0, "many": 80.0}[run.dataset]
    return of_size + run.seed**2 + GAINS[run.method][run.seed] * (2 if run.dataset == "few" else 1)


@pytest.fixture
def spec(spec_file):
    path = spec_file(SPEC)
    for run in read_matrix(path).runs:
        finish(run.config, _student(run), train_size=SIZES[run.dataset])
    return path


def _said(svg):
    """What is said of each method to whoever points at its lines: a number by that of images."""
    found = re.findall(r"<title>(\w+): ([^<]*images[^<]*)</title>", svg)
    pair = re.compile(r"([\d,]+) images ([-+\d.]+)")
    return [
        (method, {int(n.replace(",", "")): float(x) for n, x in pair.findall(text)})
        for method, text in dict.fromkeys(found)  # a line and its bars say the same
    ]


def test_it_shows_the_means_and_the_differences_by_size(spec):
    (plot,) = overview_plots(make_report(spec)[0])
    runs = read_matrix(spec).runs
    shown = _said(plot.svg)
    assert [method for method, _ in shown] == ["independent", "one", "mbde", "one", "mbde"]
    accuracies = dict(reversed(shown))
    for method, points in accuracies.items():
        assert list(points) == [250, 500, 1000]
        for name, size in SIZES.items():
            figures = [_student(run) for run in runs if (run.method, run.dataset) == (method, name)]
            assert points[size] == pytest.approx(np.mean(figures), abs=0.006)
    differences = dict(shown)
    assert differences["one"] == {250: 6.0, 500: 3.0, 1000: 3.0}
    assert differences["mbde"] == {250: 1.1, 500: 0.55, 1000: 0.55}
    assert "Holm" in plot.description


def test_its_bars_are_the_deviations_and_the_intervals_of_the_tables(spec, monkeypatch):
    drawn = []
    from matplotlib.axes import Axes

    draw = Axes.errorbar
    monkeypatch.setattr(
        Axes, "errorbar", lambda *a, **k: drawn.append((a[1:], k["yerr"])) or draw(*a, **k)
    )
    report = make_report(spec)[0]
    overview_plots(report)
    (_, independent), (_, one), (_, bars), *_ = drawn
    assert independent == pytest.approx([np.std([0, 1, 4], ddof=1)] * 3)
    assert one[1] == pytest.approx(np.std([1, 3, 10], ddof=1))
    # of two comparisons, one's is the one with the larger p: its interval is of 95 % on its own
    half = stats.t.ppf(0.975, 2) * np.std(GAINS["one"], ddof=1) / np.sqrt(3)
    assert bars[1] == pytest.approx(half)
    assert bars[0] == 0.0  # wider than what the table shows: too few seeds


@pytest.mark.parametrize("methods", [3, 11])
def test_the_bars_of_a_size_stay_nearer_to_it_than_to_another(spec_file, monkeypatch, methods):
    from matplotlib.axes import Axes

    rows = ", ".join(f"{{label: m{n}, method: one, lr: {(n + 1) / 1000}}}" for n in range(methods))
    text = SPEC.replace("[independent, one, mbde]", f"[independent, {rows}]")
    path = spec_file(f"{text}seeds: [0]\n")
    for run in read_matrix(path).runs:
        finish(run.config, 90.0, train_size=SIZES[run.dataset])
    places = []
    draw = Axes.errorbar
    monkeypatch.setattr(Axes, "errorbar", lambda *a, **k: places.append(a[1]) or draw(*a, **k))
    overview_plots(make_report(path)[0])
    moved = np.array([x for x in places if list(x) != [250, 500, 1000]])
    assert len(moved) == methods
    assert len({tuple(x) for x in moved}) == methods
    assert np.abs(np.log2(moved / [250, 500, 1000])).max() < 0.16


def test_it_stands_first_in_every_format_and_goes_with_its_report(spec, tmp_path):
    folder = tmp_path / "report"
    write_report(make_report(spec)[0], folder)
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text)
    assert pictures[0] == ("accuracy against training images", "overview-images.svg")
    page = (folder / "report.html").read_text()
    assert page.index("accuracy against training images") < page.index("<h2>many")
    assert "overview-images.svg" in json.loads((folder / ".files.json").read_text())
    write_report(make_report(spec, ["datasets=[digits]"])[0], folder)
    assert not (folder / "overview-images.svg").exists()


@pytest.mark.parametrize(
    "figures",
    [
        {"many": {"train_size": 250}},  # no other size
        {"many": {"dataset": "cifar10"}},  # other data
        {"many": {"test_size": 100}},  # other images for testing
        {"many": {"last": {**judged(90.0, 2), "split": "val"}}},
        {"many": {"train_size": 0}},
    ],
)
def test_there_is_none_where_something_else_differs(spec, figures):
    for run in read_matrix(spec).runs:
        if run.dataset in figures:
            finish(run.config, 90.0, **{"train_size": 1000, **figures[run.dataset]})
    report = make_report(spec)[0]
    assert len(report.runs) == 27
    assert overview_plots(report) == []


def test_nor_for_two_backbones_or_a_single_size(spec_file):
    path = spec_file(SPEC.replace("[resnet8]", "[resnet8, resnet14]"))
    for run in read_matrix(path).runs:
        finish(run.config, 90.0, train_size=SIZES[run.dataset])
    assert overview_plots(make_report(path)[0]) == []
    one_size = make_report(path, ["backbones=[resnet8]", "methods=[one]", "datasets=[digits]"])[0]
    assert overview_plots(one_size) == []


def test_one_method_has_nothing_to_be_compared_with(spec):
    (plot,) = overview_plots(make_report(spec, ["methods=[one]"])[0])
    assert [method for method, _ in _said(plot.svg)] == ["one"]
    assert "Below" not in plot.description


def test_sizes_and_methods_without_runs_are_left_out(spec):
    for run in read_matrix(spec).runs:
        if (
            run.method == "mbde"
            or run.dataset == "many"
            or (run.method, run.dataset) == ("one", "few")
        ):
            run.folder.result.unlink()
    (plot,) = overview_plots(make_report(spec)[0])
    accuracies = dict(reversed(_said(plot.svg)))
    assert set(accuracies) == {"independent", "one"}
    assert list(accuracies["independent"]) == [250, 500]
    assert list(accuracies["one"]) == [500]
