"""The steps that a method takes between the steps of a training."""

import io

import pytest
import torch
from built_trainer import built_trainer, state_of

SETTINGS = (
    *("method=lmcl", "method.meta_every=3", "method.exits=1", "method.width=8", "epochs=3"),
    *("backbone=resnet8", "device=cpu", "precision=fp32", "training.threads=1"),
    *("dataset.train_subset=40", "batch_size=8", "training.label_smoothing=0.1"),
)


def test_it_is_taken_with_the_batch_and_the_rate_of_its_step():
    trainer = built_trainer([*SETTINGS, "schedule=cosine", "method.meta_every=2"])
    steps, taken = [], []
    trainer.method.register_forward_pre_hook(lambda _, inputs: steps.append((*inputs, trainer.lr)))
    trainer.method.meta_step = lambda *given: taken.append((len(steps), *given)) or ()
    for _ in range(2):
        trainer.train_epoch(lambda _: None)
    assert [after for after, *_ in taken] == [1, 3, 5, 6, 8, 10]
    for after, x, y, lr in taken:
        own_x, own_y, *_, own_lr = steps[after - 1]
        assert torch.equal(x, own_x)
        assert torch.equal(y, own_y)  # with label smoothing
        assert lr == pytest.approx(own_lr)


def test_nothing_is_learnt_of_the_batch_of_a_step_that_was_left_out():
    settings = [*SETTINGS, "method.meta_every=2", "training.on_nonfinite=skip"]
    trainer = built_trainer(settings)
    taken, batches = [], trainer.data.train_batches

    def spoilt(*given):
        for place, (x, *others) in enumerate(batches(*given)):
            yield (x * torch.nan if place == 2 else x, *others)

    trainer.data.train_batches = spoilt
    trainer.method.meta_step = lambda x, y, lr: taken.append(x) or ()
    trainer.train_epoch(lambda _: None)
    assert trainer.train_step.nonfinite.count == 1
    assert len(taken) == 2  # after the first and the fifth of five steps
    assert all(x.isfinite().all() for x in taken)


def test_a_training_that_is_taken_up_in_mid_epoch_ends_in_the_same_state():
    whole, saved = built_trainer(SETTINGS), []
    start = state_of(whole)
    names = list(whole.method.state_dict())

    def save(_):
        if whole.step == 7:
            file = io.BytesIO()
            torch.save(whole.state_dict(), file)
            saved.append(io.BytesIO(file.getvalue()))

    told = [whole.train_epoch(save) for _ in range(2)]
    moved = {
        name
        for name, before, after in zip(names, start, state_of(whole), strict=False)
        if not torch.equal(before, after)
    }
    learnt = {name for name in names if name.startswith(("pair_maps.", "velocity."))}
    assert learnt
    assert learnt <= moved
    resumed = built_trainer(SETTINGS)
    resumed.load_state_dict(torch.load(saved[0], weights_only=True))
    assert resumed.train_epoch(lambda _: None) == told[1]
    assert all(map(torch.equal, state_of(whole), state_of(resumed)))


def test_blocks_that_are_computed_again_are_refused_before_the_data_are_read(kdzoo, tmp_path):
    there_is_none = ("dataset=imagefolder", f"dataset.root={tmp_path / 'photos'}")
    done = kdzoo("run", *SETTINGS[:3], *there_is_none, "training.checkpointing=true")
    assert done.code == 2
    assert "training.checkpointing: The method takes meta steps" in " ".join(done.err.split())
