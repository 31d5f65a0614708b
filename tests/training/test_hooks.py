"""A method's hooks are called when they say, and what they change is in every checkpoint."""

import os
import signal

import pytest
import torch

from kdzoo.compose import compose
from kdzoo.methods.independent import Independent
from kdzoo.training.display import Silent
from kdzoo.training.preemption import Stopped
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

SMALL = (
    *("method=independent", "backbone=resnet8", "device=cpu", "training.threads=1"),
    *("dataset.train_subset=64", "batch_size=32"),  # 2 steps an epoch
)


@pytest.fixture
def calls(monkeypatch):
    """What a method is told, one after the other; it counts in a buffer as well."""
    told: list[str] = []
    build_heads, outputs = Independent.build_heads, Independent.outputs

    def build(self, example):
        build_heads(self, example)
        self.register_buffer("calls", torch.zeros(3))

    def forward(self, x):
        if self.training:
            told.append("forward")
        return outputs(self, x)

    def hook(place, name):
        def called(self):
            told.append(name)
            self.calls[place] += 1

        return called

    monkeypatch.setattr(Independent, "build_heads", build)
    monkeypatch.setattr(Independent, "outputs", forward)
    for place, name in enumerate(("before_step", "after_step", "after_epoch")):
        monkeypatch.setattr(Independent, name, hook(place, name))
    return told


STEP = ["before_step", "forward", "after_step"]


def kept(folder: RunFolder) -> list[float]:
    state, _ = folder.read_checkpoint(folder.read_identity())
    return state["method"]["calls"].tolist()


def test_hooks_are_called_in_order(calls, tmp_path):
    folder = train(compose([*SMALL, "epochs=2", f"out={tmp_path}"]))
    training = calls[calls.index("before_step") :]  # a run looks at its method before it trains
    assert training == 2 * [*STEP, *STEP, "after_epoch"]
    assert kept(folder) == [4, 4, 2]


def test_an_epoch_that_the_training_ends_within_is_one(calls, tmp_path):
    folder = train(compose([*SMALL, "training.steps=3", f"out={tmp_path}"]))
    assert kept(folder) == [3, 3, 2]


class StopAt(Silent):
    """A display that ends the run after a step."""

    def __init__(self, step):
        self.steps, self.at = 0, step

    def step(self, tally):
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step", [1, 2])
def test_no_hook_is_left_out_or_called_twice_where_a_run_goes_on(calls, step, tmp_path):
    config = compose([*SMALL, "epochs=2", f"out={tmp_path}"])
    with pytest.raises(Stopped):
        train(config, StopAt(step))
    assert kept(train(config)) == [4, 4, 2]
