"""Averaged weights are the means that they are said to be, and are what is deployed."""

import json

import pytest
import torch
from built_trainer import built_trainer, taken_up
from safetensors.torch import load_file
from torch import nn

from kdzoo.compose import compose
from kdzoo.errors import ConfigError
from kdzoo.testing import BACKBONE
from kdzoo.training.run import train
from kdzoo.training.tally import Tally
from kdzoo.training.trainer import Trainer

SMALL = (
    *("method=independent", f"backbone={BACKBONE}", "device=cpu", "training.threads=1"),
    *("dataset.train_subset=64", "batch_size=16", "epochs=4", "training.compile=false"),
)
EMA = ("training.average=ema", "training.average_decay=0.8")
SWA = ("training.average=swa", "training.average_from=0.5")

State = dict[str, torch.Tensor]


def student_state(trainer: Trainer) -> State:
    state = trainer.method.student().state_dict()
    return {name: value.double() for name, value in state.items()}


def trained(trainer: Trainer) -> tuple[list[State], list[State]]:
    """The student after each step, and after each epoch."""
    steps: list[State] = []
    epochs: list[State] = []

    def keep(_: Tally) -> None:
        steps.append(student_state(trainer))

    while trainer.epoch < trainer.epochs:
        trainer.train_epoch(keep)
        epochs.append(student_state(trainer))
    return steps, epochs


def test_ema_is_that_of_a_plain_loop_over_all_steps():
    trainer = built_trainer([*SMALL, *EMA])
    steps, _ = trained(trainer)
    averaged = trainer.averaged_student().state_dict()
    for name, found in averaged.items():
        mean = torch.zeros_like(steps[0][name])
        for count, state in enumerate(steps, 1):
            rate = max(1 / count, 1 - 0.8)
            mean = (1 - rate) * mean + rate * state[name]
        expected = mean if found.is_floating_point() else steps[-1][name]
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [0, 3])
def test_ema_has_no_step_that_was_left_out(bad):
    trainer = built_trainer([*SMALL, *EMA, "training.on_nonfinite=skip"])
    batches = trainer.data.train_batches

    def spoilt(epoch: int, *rest: int):
        for place, (x, *others) in enumerate(batches(epoch, *rest)):
            yield (x * torch.nan if (epoch, place) == (0, bad) else x, *others)

    trainer.data.train_batches = spoilt
    steps, _ = trained(trainer)
    counted = [state for step, state in enumerate(steps) if step != bad]
    assert len(counted) == len(steps) - 1
    assert int(trainer.average.averaged.steps) == len(counted)
    for name, found in trainer.averaged_student().named_parameters():
        mean = torch.zeros_like(counted[0][name])
        for count, state in enumerate(counted, 1):
            rate = max(1 / count, 1 - 0.8)
            mean = (1 - rate) * mean + rate * state[name]
        torch.testing.assert_close(found.double(), mean, rtol=1e-4, atol=1e-6)


def test_swa_is_the_mean_of_the_last_epochs_with_statistics_of_its_own():
    trainer = built_trainer([*SMALL, *SWA])
    _, epochs = trained(trainer)
    network = trainer.averaged_student()
    for name, found in network.named_parameters():
        expected = torch.stack([state[name] for state in epochs[1:]]).mean(dim=0)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
    seen = []
    first = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        for x, *_ in trainer.data.train_batches(trainer.epoch):
            network(x)
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen])
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in seen])
    torch.testing.assert_close(first.running_mean, means.mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var, variances.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_swa_deploys_the_last_weights_before_it_begins():
    trainer = built_trainer([*SMALL, *SWA])
    trainer.train_epoch(lambda _: None)
    assert trainer.averaged_student() is None
    trainer.train_epoch(lambda _: None)
    assert trainer.averaged_student() is not None


@pytest.mark.parametrize("average", [EMA, SWA])
@pytest.mark.parametrize("method", ["okdph", "pcl", "one"])
def test_it_is_judged_and_deployed_and_the_training_is_the_same(average, method, tmp_path):
    settings = [*SMALL, f"method={method}", f"out={tmp_path}"]
    plain = train(compose(settings))
    run = train(compose([*settings, *average]))
    result = json.loads(run.result.read_text())
    last = json.loads(plain.result.read_text())["last"]
    assert result["last"]["unaveraged"] == last["student"]
    assert result["last"]["peers"] == last["peers"]
    assert "unaveraged" not in last
    trainer = built_trainer([*settings, *average])
    trained(trainer)
    weights = load_file(run.path / "student.safetensors")
    for name, value in trainer.averaged_student().state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("average", [EMA, SWA])
@pytest.mark.parametrize("stop_after", [5, 12])
def test_a_state_that_is_taken_up_comes_to_the_same_bytes(average, stop_after):
    whole, second = taken_up([*SMALL, *average], stop_after)
    found, expected = second.averaged_student().state_dict(), whole.averaged_student().state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_longer_run_does_not_go_on_from_a_mean_over_other_epochs(tmp_path):
    settings = [*SMALL, "schedule=constant", f"backbone={BACKBONE}", f"out={tmp_path}", *SWA]
    train(compose([*settings, "dataset.train_subset=256", "epochs=7"]))
    longer = train(compose([*settings, "dataset.train_subset=256", "epochs=8"]))
    assert len(longer.metrics.read_text().splitlines()) == 8
    trainer = built_trainer([*settings, "dataset.train_subset=256", "epochs=8"])
    trained(trainer)
    weights = load_file(longer.path / "student.safetensors")
    state = trainer.averaged_student().state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in state.items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["training.average_decay=0.9"], "training.average=ema"),
        ([*EMA, "training.average_from=0.5"], "training.average=swa"),
        ([*EMA, "training.on_nonfinite=rollback"], "does not go back"),
    ],
)
def test_settings_that_would_do_nothing_or_cannot_hold_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        compose([*SMALL, *settings])


def test_the_identity_is_as_before_without_an_average_and_another_with_one():
    plain = compose([*SMALL]).identity()
    assert not [key for key in plain["training"] if key.startswith("average")]
    assert compose([*SMALL, "training.average=ema"]).identity() != plain
