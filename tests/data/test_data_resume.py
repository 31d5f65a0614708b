"""An epoch that is gone on with in its middle: the batches that are left, and no others."""

import random

import numpy as np
import pytest
import torch
from data_helpers import open_named, open_own
from test_data_order import EVERYTHING, SOME

from kdzoo.data import data_from

PIPELINES = pytest.mark.parametrize("pipeline", ["device", "loader"])


@PIPELINES
@pytest.mark.parametrize("start", [1, 4, 5, 6])
def test_the_batches_that_are_left_are_those_of_the_whole_epoch(pipeline, start):
    data = open_named("digits", **SOME, augment=EVERYTHING, pipeline=pipeline, workers=0)
    whole = list(data.train_batches(3, 2))
    left = list(data.train_batches(3, 2, start))
    assert len(whole) == 6
    assert len(left) == 6 - start
    for one, same in zip(whole[start:], left, strict=True):
        assert all(map(torch.equal, one, same))


@PIPELINES
def test_an_epoch_begun_by_one_process_is_gone_on_with_by_two(pipeline):
    settings = {**SOME, "augment": EVERYTHING, "pipeline": pipeline, "workers": 0}
    whole = list(open_named("digits", **settings).train_batches(1))[4:]
    shares = [
        list(open_named("digits", **settings, rank=rank, world_size=2).train_batches(1, start=4))
        for rank in (0, 1)
    ]
    for (x, *said), *parts in zip(whole, *shares, strict=True):
        torch.testing.assert_close(torch.cat([part[0] for part in parts]), x, rtol=0, atol=1e-5)
        for i, whole_batch in enumerate(said, 1):  # the labels and the indices
            assert torch.equal(torch.cat([part[i] for part in parts]), whole_batch)


class Drawn:
    """A person's data set that draws its images, from each of the generators in turn."""

    targets = [0, 1] * 16

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, position: int) -> tuple[np.ndarray, int]:
        shade = random.randrange(256), np.random.randint(256), int(torch.randint(256, ()))
        return np.full((4, 4, 3), shade, np.uint8), self.targets[position]


def drawn(workers: int, **run: int):
    known = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "pipeline": "loader"}
    return open_own(data_from(Drawn(), Drawn(), workers=workers, **known), **run)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_what_a_persons_data_set_draws_follows_from_the_sample_and_the_epoch(workers):
    whole = list(drawn(0).train_batches(2))
    left = list(drawn(workers).train_batches(2, start=1))
    for (x, *_), (same, *_) in zip(whole[1:], left, strict=True):
        assert torch.equal(x, same)
    assert len({x.numpy().tobytes() for x, *_ in whole}) == len(whole)
    (other, *_), *_ = drawn(0).train_batches(3)
    assert not torch.equal(other, whole[0][0])


def test_drawing_for_a_sample_leaves_the_training_its_random_numbers():
    data = drawn(0)

    def after(work) -> tuple[float, float, float]:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        work()
        return random.random(), np.random.rand(), float(torch.rand(()))

    assert after(lambda: list(data.train_batches(0))) == after(lambda: None)
