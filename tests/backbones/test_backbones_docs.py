import re
from functools import cache
from pathlib import Path

import pytest
import torch

from kdzoo.backbones.create import BackboneConfig, make_backbone
from kdzoo.peers.describe import describe
from kdzoo.registry import backbones

PAGE = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
UNITS = {"M": 1e6, "G": 1e9}


@cache
def total(name):
    """The parameters and multiply-adds of a network with 100 classes."""
    return describe(make_backbone(BackboneConfig(name=name), 100, (3, 32, 32))).total


def rows():
    """(name, parameters, multiply-adds) as the page's first table has them."""
    for line in re.findall(r"^\| (`.*)", PAGE, re.MULTILINE):
        names, parameters, costs, *_ = (cell.strip() for cell in line.split("|"))
        if parameters[0].isdigit():
            yield from zip(
                re.findall(r"`(\w+)`", names),
                parameters.split(", "),
                costs.split(", "),
                strict=True,
            )


def test_every_network_of_ours_is_in_the_table():
    assert sorted(name for name, *_ in rows()) == backbones.names()


@pytest.mark.parametrize(("name", "parameters", "costs"), list(rows()))
def test_the_table_is_right(name, parameters, costs):
    counted = total(name)
    for printed, real in ((parameters, counted.parameters), (costs, counted.multiply_adds)):
        digits = len(printed[:-1].partition(".")[2])
        assert round(real / UNITS[printed[-1]], digits) == float(printed[:-1])


@pytest.mark.parametrize("name", backbones.names())
def test_the_lists_parameters_are_those_with_100_classes(name):
    (said,) = re.findall(r"[,:] ([\d.]+)M parameters\.$", _first_line(name))
    real = total(name).parameters
    assert f"{real / 1e6:.{len(said.partition('.')[2])}f}" == said


def _first_line(name):
    return backbones.about(name).docstring.partition("\n")[0]


def test_the_pages_code_runs():
    scope = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, scope)
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    assert torch.isfinite(scope["method"](x, y, torch.tensor(0.5)).terms["ce"])
