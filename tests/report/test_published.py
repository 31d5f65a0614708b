"""Figures of the literature stand beside those of runs that are what they are of."""

from importlib import resources

import pytest
import yaml
from hand_made import finish

import kdzoo.report
from kdzoo import registry
from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report
from kdzoo.report.published import published_figures
from kdzoo.report.write import write_report


def test_published_figures_stand_beside_ours(spec_file, tmp_path, lines_of):
    path = spec_file(
        "published: true\nmethods: [independent, one, {method: one, lr: 0.05}, kdcl]\n"
        "backbones: [resnet32]\ndatasets: [cifar100]\nseeds: [0]\n"
    )
    for run in read_matrix(path).runs:
        finish(run.config, 70.0)
    report, _ = make_report(path)
    write_report(report, tmp_path / "report")
    lines = lines_of(report)
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


def test_offline_figures_stand_beside_the_teacher_they_had(spec_file, lines_of):
    path = spec_file(
        "published: true\nmethods: [{method: kd, method.teacher_backbone: resnet56}, kd]\n"
        "backbones: [resnet20]\ndatasets: [cifar100]\nseeds: [0]\n"
    )
    for cell in read_matrix(path).runs:
        finish(cell.config, 70.0)
    lines = lines_of(make_report(path)[0])
    taught = lines["kd (teacher_backbone=resnet56)"]
    assert taught["published_tian2020_student"] == "70.66"
    assert lines["kd"]["published_tian2020_student"] == ""


def test_a_feature_term_is_compared_with_its_own_figure_and_with_no_other(spec_file, lines_of):
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
    lines = lines_of(make_report(path)[0])
    assert [line["published_tian2020_student"] for line in lines.values()] == [
        "70.66",
        "71.16",
        "",
        "",
    ]


def test_what_a_spec_tells_every_method_hides_figures_of_the_method_without_it(spec_file, lines_of):
    path = spec_file(
        "published: true\nmethods: [{method: kd, method.teacher_backbone: resnet56}]\n"
        "backbones: [resnet20]\ndatasets: [cifar100]\nseeds: [0]\n"
        "run: {method.feature_terms: [crd]}\n"
    )
    for cell in read_matrix(path).runs:
        finish(cell.config, 70.0)
    (line,) = lines_of(make_report(path)[0]).values()
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
