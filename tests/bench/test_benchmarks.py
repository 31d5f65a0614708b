"""The specs that come with kdzoo, and those of the documentation, can be carried out."""

import json
import re
from pathlib import Path

import pytest

from kdzoo import registry
from kdzoo.bench.matrix import read_matrix

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "benchmarks").glob("*.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec_is_sound(path):
    matrix = read_matrix(path)
    assert len(matrix.spec.seeds) >= 3
    settings = {json.dumps(run.config.identity(), sort_keys=True) for run in matrix.runs}
    assert len(settings) == len(matrix.runs)


UP_TO_2021 = {
    *("independent", "kd", "byot", "dml", "cl_ilr", "one", "okddip", "mbde", "kdcl", "ffl", "pcl"),
}
"""Which the committed results are of."""


@pytest.mark.parametrize("name", ["quick", "cifar100-10k", "papers"])
def test_the_benchmarks_have_every_method_up_to_2021(name):
    spec = read_matrix(ROOT / "benchmarks" / f"{name}.yaml").spec
    assert {row.label for row in spec.methods} == UP_TO_2021
    assert set(registry.methods.names()) >= UP_TO_2021


def test_the_papers_tables_are_the_papers():
    matrix = read_matrix(ROOT / "benchmarks" / "papers.yaml")
    spec = matrix.spec
    assert {row.label for row in spec.datasets} == {"cifar10", "cifar100", "cinic10"}
    backbones = [row.label for row in spec.backbones]
    assert backbones == ["resnet32", "resnet110", "vgg16", "densenet40_12", "wrn20_8"]
    assert {run.config.epochs for run in matrix.runs} == {300}


def test_the_documentation_s_spec_is_one(tmp_path):
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    whole, lists, ablations = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "spec.yaml"
    path.write_text(whole)
    assert len(read_matrix(path).runs) == 36
    path.write_text(lists)
    assert len(read_matrix(path).runs) == 2 * 2 * 1 * 3
    path.write_text(f"{whole}{ablations}")
    methods = list(dict.fromkeys(run.method for run in read_matrix(path).runs))
    assert methods[3:] == ["mbde (regularizers=[])", "MBDE, mean target"]
