"""benchmarks/speed in small: that it measures what it says it does."""

import json

import pytest
import torch

from benchmarks.speed.__main__ import main
from benchmarks.speed.networks import SHAPES, build, build_teachers
from benchmarks.speed.objectives import OBJECTIVES
from benchmarks.speed.table import markdown
from benchmarks.speed.turns import AfterSteps, Turns
from kdzoo import registry
from kdzoo.testing import BACKBONE, make_method

FIGURES = {"mean", "median", "min", "cpu_mean", "cpu_median", "cpu_min"}


def test_the_benchmark_measures_steps_and_epochs_of_every_contestant(tmp_path, capsys):
    file = tmp_path / "speed.json"
    small = ["--backbone", "resnet8", "--batch-size", "8", "--sizes", "32", "8", "--workers", "0"]
    short = ["--rounds", "3", "--epochs", "1", "--threads", "1", "--json", str(file)]
    main(["one", *small, *short])
    report = json.loads(file.read_text())
    step, epoch = report["rows"]
    assert report["environment"]["device"]
    assert (step["method"], step["backbone"], step["precision"]) == ("one", "resnet8", "fp32")
    assert (step["what"], step["rounds"]) == ("step", 3)
    assert (epoch["what"], epoch["rounds"]) == ("epoch", 1)
    assert set(step["seconds"]) == {"kdzoo", "bare", "conventional"}
    assert set(epoch["seconds"]) == {"kdzoo", "conventional"}
    for row in report["rows"]:
        for figures in row["seconds"].values():
            assert set(figures) == FIGURES
            assert 0 < figures["min"] <= figures["median"]
    seconds = step["seconds"]
    ratio = seconds["kdzoo"]["min"] / seconds["bare"]["min"]
    assert step["ratios"]["kdzoo/bare"]["min"] == pytest.approx(ratio)
    assert "| one | resnet8 | fp32 | epoch, s |" in capsys.readouterr().out


def size(*modules):
    return sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad)


METHODS = sorted(registry.methods.names())
"""Before other tests register some."""


def test_every_method_is_measured():
    assert sorted(SHAPES) == METHODS


@pytest.mark.parametrize("name", SHAPES)
def test_bare_trains_the_networks_of_the_method(name):
    method, shape = make_method(name), SHAPES[name]
    method.peers.requires_grad_(True)
    peers = shape.peers - shape.hybrids
    views = method.views * (2 if method.repeats_last_batch(method.config) else 1)
    assert (method.config.peers, views) == (peers, shape.views)
    networks = build(shape, BACKBONE, classes=5)
    assert size(networks) * peers == size(method.peers) * shape.peers
    teachers = build_teachers(shape, BACKBONE, classes=5)
    assert (teachers is None) == (shape.teachers == "none")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_conventional_trainer_trains_the_heads_of_the_method_besides(name):
    shape = SHAPES[name]
    networks = build(shape, BACKBONE, classes=5)
    objective = OBJECTIVES[name](*networks([torch.zeros(2, 3, 32, 32)] * shape.views))
    method = make_method(name)
    method.peers.requires_grad_(True)
    assert size(networks, objective) == size(method)


def test_a_method_that_has_no_conventional_trainer_is_measured_beside_bare(tmp_path):
    file = tmp_path / "speed.json"
    small = ["--backbone", "resnet8", "--batch-size", "8", "--sizes", "32", "8"]
    main(["ddgsd", *small, "--rounds", "1", "--threads", "1", "--json", str(file)])
    (step,) = json.loads(file.read_text())["rows"]
    assert set(step["seconds"]) == {"kdzoo", "bare"}


def test_after_each_turn_of_the_run_come_the_others():
    seen = []
    others = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    turns = Turns(others, warm_up=1, device="cpu")
    display = AfterSteps(turns, count=2)
    for step in range(5):
        seen.append(step)
        display.step(None)
    display.epoch({}, 1)  # what is left of a turn at the end of an epoch does not count
    seen.append("next")
    display.step(None)
    display.step(None)
    assert seen == [0, 1, "a", "b", 2, 3, "b", "a", 4, "next", "a", "b"]
    assert {name: len(times) for name, times in turns.seconds.items()} == {
        "kdzoo": 3,
        "a": 3,
        "b": 3,
    }
    turns.seconds["kdzoo"] = [9.0, 2.0, 4.0]
    assert turns.summary(per_turn=2)["kdzoo"]["median"] == 1.5
    assert turns.summary(per_turn=2)["kdzoo"]["min"] == 1.0
    turns.seconds["kdzoo"] = [9.0, 2.0, 4.0, 9.0]
    assert turns.summary(per_turn=2)["kdzoo"]["mean"] == 2.5


def test_of_epochs_the_mean_is_shown_as_not_each_has_an_evaluation():
    seconds = {"kdzoo": {"mean": 2.0, "median": 1.0, "min": 1.0}}
    row = {"method": "one", "backbone": "resnet8", "precision": "bf16", "seconds": seconds}
    ratios = {"conventional/kdzoo": {"mean": 2.25, "median": 4.0, "min": 5.0}}
    table = markdown([{**row, "what": what, "ratios": ratios} for what in ("step", "epoch")])
    assert table.splitlines()[2:] == [
        "| one | resnet8 | bf16 | step, ms | 1000 [1000] |  |  |  | 4.00 [5.00] |",
        "| one | resnet8 | bf16 | epoch, s | 2.00 |  |  |  | 2.25 |",
    ]
