"""A step that comes to no finite number is left out, as if it had not been."""

import pytest
import torch
from built_trainer import built_trainer, state_of

from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.training.trainer import Trainer

SMALL = (
    *("backbone=resnet8", "device=cpu", "precision=fp32", "training.threads=1"),
    *("dataset.train_subset=64", "batch_size=16", "epochs=2", "training.on_nonfinite=skip"),
)


def trainer_of(*settings: str) -> Trainer:
    return built_trainer([*SMALL, *settings])


@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("settings", [("method=pcl",), ("method=one", "optimizer=adamw")])
def test_nothing_of_such_a_step_stays(settings, bad):
    trainer = trainer_of(*settings)
    step = trainer.train_step
    batches = list(trainer.data.train_batches(0, trainer.method.views))
    trainer.method.train()
    step.begin(0)

    def spoilt(x, *rest):
        if bad == "loss":
            step(x * torch.nan, *rest)
            return
        weight = next(trainer.method.parameters())
        hook = weight.register_hook(lambda gradient: gradient / 0)
        step(x, *rest)
        hook.remove()

    fresh = state_of(trainer)
    spoilt(*batches[0])  # before the optimiser has any state
    after = state_of(trainer)
    assert len(after) == len(fresh)
    assert all(map(torch.equal, fresh, after))
    step(*batches[1])
    before = state_of(trainer)
    assert not all(map(torch.equal, fresh, before))
    spoilt(*batches[2])
    after = state_of(trainer)
    assert len(after) == len(before)
    assert all(map(torch.equal, before, after))
    step(*batches[3])
    means = step.tally.compute()
    assert all(torch.tensor(list(means.values())).isfinite())
    said = step.nonfinite.left_out()
    assert said is not None
    assert said.startswith("2 steps were left out: in step 0 the ")
    assert ("gradient" in said) is (bad == "gradient")


def test_without_such_a_step_the_training_is_the_same():
    states = []
    for setting in ("skip", "stop"):
        trainer = trainer_of("method=one", f"training.on_nonfinite={setting}")
        trainer.train_epoch(lambda tally: None)
        assert trainer.train_step.nonfinite.left_out() is None
        states.append(state_of(trainer))
    assert all(map(torch.equal, *states))


def test_fp16_has_its_own_way():
    with pytest.raises(UserError, match="on_nonfinite"):
        compose([*SMALL, "precision=fp16"])
