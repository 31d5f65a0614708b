"""Runs with ``training.fused_kernels``."""

import importlib.util

import pytest
import torch

from kdzoo.compose import compose
from kdzoo.files import read_json
from kdzoo.training import fused_kernels
from kdzoo.training.display import Silent
from kdzoo.training.run import train

SMALL = ["backbone=resnet8", "training.steps=8"]


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def run(folder, *settings):
    said = Said()
    made = train(compose([*SMALL, f"out={folder}", *settings]), said)
    return made, [line for line in said.lines if "fused" in line]


def test_where_there_is_no_captured_step_that_is_said_and_trained(tmp_path):
    folder, said = run(tmp_path, "device=cpu", "training.fused_kernels=true")
    plain, none = run(tmp_path / "plain", "device=cpu")
    assert said == [
        "training.fused_kernels=true has no effect: they are for captured steps in bf16 on CUDA."
    ]
    assert none == []
    assert read_json(folder.environment)["fused_kernels"] is False
    assert folder.read_result()["student"] == plain.read_result()["student"]


def test_they_are_no_part_of_what_a_run_is(tmp_path):
    folder, _ = run(tmp_path, "device=cpu")
    again, _ = run(tmp_path, "device=cpu", "training.fused_kernels=true")
    assert again.path == folder.path


def test_they_and_the_compiler_exclude_each_other(kdzoo, tmp_path):
    command = kdzoo(
        "config", "training.fused_kernels=true", "training.compile=true", f"out={tmp_path}"
    )
    assert command.code == 2
    assert "training.fused_kernels" in command.err
    assert "Set either" in command.err


def method(backbone):
    from kdzoo.backbones.create import as_backbone
    from kdzoo.registry import methods

    config = compose(["method=mbde"])
    return methods.get("mbde")(config.method, [as_backbone(backbone, 5, (3, 8, 8))], 0)


def test_without_triton_there_are_none(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = fused_kernels.fuse_kernels(method("resnet8"), torch.device("cpu"))
    assert reason == "Triton is not installed"


def test_other_networks_than_resnets_have_none():
    pytest.importorskip("triton")
    reason = fused_kernels.fuse_kernels(method("vgg16"), torch.device("cpu"))
    assert "there is none" in reason


def test_kernels_that_compute_something_else_are_found_out_and_not_used(monkeypatch):
    pytest.importorskip("triton")
    from kdzoo.kernels import fuse as kernels

    def fuse(network):
        """A block whose gradient is a tenth too large."""
        own = type(network).forward
        vars(network)["forward"] = lambda x: 1.1 * own(network, x)

    monkeypatch.setattr(kernels, "fuse", fuse)
    made = method("resnet8")
    before = torch.get_rng_state()
    reason = fused_kernels.fuse_kernels(made, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert "not what PyTorch does" in reason
    assert not any("forward" in vars(module) for module in made.modules())


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["mbde", "dml", "one"])
def test_a_captured_training_is_that_of_pytorch_but_for_rounding(name, tmp_path):
    found = []
    for fused in ("false", "true"):
        folder, said = run(
            tmp_path / fused,
            "device=cuda",
            f"method={name}",
            "lr=0.01",
            "training.steps=24",
            f"training.fused_kernels={fused}",
        )
        assert said == []
        assert read_json(folder.environment)["fused_kernels"] is (fused == "true")
        found.append(folder.read_result()["student"]["nll"])
    assert found[1] == pytest.approx(found[0], rel=0.05)
