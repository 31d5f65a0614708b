"""A step that comes to no finite number takes the training back to its last sound state."""

import copy
import json

import pytest
import torch
from built_trainer import built_trainer, state_of
from test_distributed import two_processes

from kdzoo.compose import compose
from kdzoo.testing import BACKBONE
from kdzoo.training import rollback
from kdzoo.training.run import train
from kdzoo.training.step import TrainingStep
from kdzoo.training.tally import DivergedError
from kdzoo.training.trainer import Trainer

SMALL = (
    *("method=one", f"backbone={BACKBONE}", "device=cpu", "training.threads=1"),
    *("dataset.train_subset=128", "batch_size=8", "epochs=1", "training.on_nonfinite=rollback"),
)


@pytest.fixture(autouse=True)
def sound_soon(monkeypatch):
    monkeypatch.setattr(rollback, "SOUND_AFTER", 3)


@pytest.fixture
def spoil(monkeypatch):
    """Has the steps of these numbers come to no finite number."""
    take = TrainingStep.__call__

    def spoil_steps(*numbers: int) -> None:
        def spoilt(self, x, *rest):
            take(self, x * torch.nan if int(self._step) in numbers else x, *rest)

        monkeypatch.setattr(TrainingStep, "__call__", spoilt)

    return spoil_steps


def trainer_of(*settings: str) -> Trainer:
    return built_trainer([*SMALL, *settings])


def states_after_steps(trainer: Trainer) -> list[list[torch.Tensor]]:
    states: list[list[torch.Tensor]] = []
    trainer.train_epoch(lambda tally: states.append(state_of(trainer)))
    return states


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_goes_back_to_a_state_after_which_enough_steps_were_finite(spoil, optimizer):
    spoil(8)
    trainer = trainer_of(f"optimizer={optimizer}")
    states = states_after_steps(trainer)
    # kept before steps 1, 4 and 7; three finite steps came after that before step 4
    assert all(map(torch.equal, states[8], states[3]))
    assert not all(map(torch.equal, states[9], states[8]))
    step = trainer.train_step.nonfinite
    assert step.count == 5  # 4, 5, 6, 7 and 8
    said = "the training went back to its last sound state, and 5 steps were left out."
    assert said in str(step.left_out())
    assert str(step.left_out()).startswith("in step 8 the term 'ce' of the loss was no finite")


def test_a_state_that_led_to_a_second_one_is_not_taken_for_sound(spoil):
    spoil(8, 10, 15)
    trainer = trainer_of()
    states = states_after_steps(trainer)
    assert all(map(torch.equal, states[8], states[3]))
    assert all(map(torch.equal, states[10], states[3]))
    # anew before steps 11 (the state of 4) and 14; three finite steps came after the former
    assert all(map(torch.equal, states[15], states[3]))
    assert trainer.train_step.nonfinite.count == 5 + 2 + 5


def test_before_the_first_finite_step_there_is_nothing_but_the_start(spoil):
    spoil(0)
    trainer = trainer_of()
    fresh = state_of(trainer)
    states = states_after_steps(trainer)
    assert all(map(torch.equal, states[0], fresh))
    assert trainer.train_step.nonfinite.count == 1


def test_without_such_a_step_the_training_is_the_same():
    ends = []
    for setting in ("rollback", "stop"):
        trainer = trainer_of(f"training.on_nonfinite={setting}")
        trainer.train_epoch(lambda tally: None)
        ends.append(state_of(trainer))
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("setting", ["skip", "rollback"])
def test_what_was_left_out_before_a_checkpoint_in_mid_epoch_is_known_after_it(spoil, setting):
    spoil(5, 13)
    setting = f"training.on_nonfinite={setting}"
    straight = trainer_of(setting)
    saved = []

    def save(tally):
        if straight.step == 7:
            saved.append(copy.deepcopy(straight.state_dict()))

    straight.train_epoch(save)
    resumed = trainer_of(setting)
    resumed.load_state_dict(saved[0])
    resumed.train_epoch(lambda tally: None)
    assert all(map(torch.equal, state_of(resumed), state_of(straight)))
    assert resumed.train_step.nonfinite.left_out() == straight.train_step.nonfinite.left_out()


def test_it_gives_up_after_so_many_times(spoil, monkeypatch):
    monkeypatch.setattr(rollback, "MOST", 2)
    spoil(4, 8, 12)
    with pytest.raises(DivergedError, match=r"3 times, more than 2.*in step 4"):
        trainer_of().train_epoch(lambda tally: None)


@pytest.mark.parametrize(("setting", "counts"), [("skip", [1, 0]), ("rollback", [5, 0])])
def test_the_result_says_how_many_steps_were_left_out(spoil, tmp_path, setting, counts):
    spoil(8)
    settings = [*SMALL, f"training.on_nonfinite={setting}", "epochs=2", f"out={tmp_path}"]
    folder = train(compose(settings))
    assert folder.read_result()["left_out"] == sum(counts)
    lines = folder.metrics.read_text().splitlines()
    assert [json.loads(line)["left_out"] for line in lines] == counts


def test_what_one_of_two_processes_meets_takes_both_back_to_the_same_state(tmp_path, monkeypatch):
    """It is in the samples of the second process alone."""
    take = TrainingStep.__call__

    def spoilt(self, x, *rest):
        here = torch.distributed.get_rank() == 1 and int(self._step) == 8
        take(self, x * torch.nan if here else x, *rest)

    monkeypatch.setattr(TrainingStep, "__call__", spoilt)

    def work() -> None:
        trainer = trainer_of("method=pcl", "training.sync_batch_norm=true")
        states = states_after_steps(trainer)
        assert all(map(torch.equal, states[8], states[3]))
        assert not all(map(torch.equal, states[9], states[8]))
        assert trainer.train_step.nonfinite.count == 5
        torch.save(states, tmp_path / f"{torch.distributed.get_rank()}.pt")

    two_processes(work, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for own, other in zip(first, second, strict=True):
        assert all(map(torch.equal, own, other))
