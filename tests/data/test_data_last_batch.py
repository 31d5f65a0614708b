"""Batches that hold the batch before once more."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from data_helpers import CPU, labels
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.component import validate
from kdzoo.data import open_data
from kdzoo.data.last_batch import LastBatchSampler
from kdzoo.errors import ConfigError
from kdzoo.registry import datasets


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 4))
def test_every_batch_follows_the_one_before_over_all_epochs(samples, size, epoch):
    sampler = LastBatchSampler(samples, size, 3)
    epochs = [sampler.order(e).reshape(sampler.steps, -1) for e in range(epoch + 1)]
    assert all(len(order.reshape(-1)) == sampler.used for order in epochs)
    for order in epochs:
        new = order[:, 0::2].reshape(-1).tolist()
        assert len({*new}) == len(new)
        assert samples - len(new) < min(samples, size)
    batches = np.concatenate(epochs)
    assert np.array_equal(batches[0, 0::2], batches[0, 1::2])
    assert np.array_equal(batches[1:, 1::2], batches[:-1, 0::2])


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_the_batches_are_the_same_on_any_number_of_processes(world_size):
    one = LastBatchSampler(40, 7, 0)
    shares = [LastBatchSampler(40, 7, 0, rank, world_size) for rank in range(world_size)]
    assert all(share % 2 == 0 for share in one.shares + shares[0].shares)  # no pair is parted
    whole = np.concatenate([s.share(s.order(2)) for s in shares], axis=1)
    assert np.array_equal(whole, one.share(one.order(2)))


def opened(**given):
    run = {key: given.pop(key) for key in ("per_class",) if key in given}
    config = validate(datasets.get("digits").Config, {"name": "digits", "workers": 0, **given})
    return open_data(config, batch_size=8, seed=0, device=CPU, last_batch=True, **run)


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_an_image_comes_again_with_its_label_in_another_view(pipeline):
    data = opened(pipeline=pipeline, train_subset=40, augment={"crop_padding": 4})
    classes = torch.from_numpy(labels(data, "train"))
    assert data.steps_per_epoch == 5
    assert data.shares == (16,)
    batches = [*data.train_batches(0), *data.train_batches(1)]
    for (x, _, index), (again, y, repeated) in pairwise(batches):
        assert torch.equal(repeated[1::2], index[0::2])
        assert torch.equal(y, classes[repeated])
        alike = (again[1::2] == x[0::2]).flatten(1).all(dim=1)
        assert alike.float().mean() < 0.5
    left = list(data.train_batches(1, start=3))
    assert all(map(torch.equal, left[0], batches[8]))


@pytest.mark.parametrize(
    ("settings", "message", "where"),
    [
        ({"augment": {"mixup": 0.2}}, "mixed with others", ("dataset", "augment", "mixup")),
        ({"augment": {"cutmix": 1}}, "mixed with others", ("dataset", "augment", "cutmix")),
        ({"per_class": 2}, "cannot hold images of a class", ("dataset", "per_class")),
    ],
)
def test_what_would_make_another_batch_of_it_is_refused(settings, message, where):
    with pytest.raises(ConfigError, match=message) as caught:
        opened(**settings)
    assert caught.value.where == where


def test_it_is_refused_before_the_data_are_read(kdzoo, tmp_path):
    there_is_none = f"dataset.root={tmp_path / 'photos'}"
    mixed = "dataset.augment.mixup=0.2"
    done = kdzoo("run", "method=dlb", "dataset=imagefolder", there_is_none, mixed)
    assert done.code == 2
    assert "dataset.augment.mixup: The method sees each image in two" in " ".join(done.err.split())
