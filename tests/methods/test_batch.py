"""What a method is told of a batch, by kdzoo's training and by a person's own loop."""

import pytest
import torch
from built_trainer import built_trainer

import kdzoo
from kdzoo.errors import UserError
from kdzoo.methods.independent import Independent
from kdzoo.samples.batch import Batch

X, Y = torch.randn(4, 3, 8, 8), torch.arange(4)


class Told(Independent):
    """Keeps what it is told."""

    def loss(self, outputs, batch):
        self.told = batch
        return super().loss(outputs, batch)


@pytest.fixture
def method() -> Told:
    built = kdzoo.create_method("independent", "resnet8", num_classes=4, input_size=(3, 8, 8))
    built.__class__ = Told
    return built


def test_a_loss_is_told_the_samples_and_how_far_the_training_is(method):
    method(X, Y, 0.25, torch.tensor([7, 5, 0, 2]))
    assert method.told.x is X
    assert method.told.y.tolist() == [0, 1, 2, 3]
    assert method.told.progress == 0.25
    assert method.told.need_index().tolist() == [7, 5, 0, 2]


def test_a_loop_that_does_not_say_the_samples_is_enough_for_most_methods(method):
    assert method(X, Y, 0.25).terms.keys() == {"ce"}
    assert method.told.index is None


def test_a_method_that_needs_the_samples_refuses_a_loop_that_does_not_say_them():
    with pytest.raises(UserError, match=r"method\(x, y, progress, index\)"):
        Batch(X, Y, torch.zeros(())).need_index()


def test_kdzoos_training_says_the_samples():
    trainer = built_trainer(
        ["backbone=resnet8", "dataset.train_subset=64", "batch_size=16", "method=independent"]
    )
    seen: list[int] = []

    def keep(module, arguments):
        seen.extend(arguments[3].tolist())

    trainer.method.register_forward_pre_hook(keep)
    trainer.train_epoch(lambda tally: None)
    assert sorted(seen) == list(range(64))
