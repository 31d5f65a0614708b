"""Batches that hold several images of each of their classes."""

import numpy as np
import pytest
import torch
from data_helpers import labels, open_named
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.data.per_class import PerClassSampler
from kdzoo.errors import ConfigError


@st.composite
def samplers(draw):
    per_class = draw(st.integers(2, 4))
    counts = draw(st.lists(st.integers(0, 9), min_size=1, max_size=8))
    counts[0] += 3 * per_class
    classes = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(classes)
    size = per_class * draw(st.integers(1, 4))
    return PerClassSampler(len(classes), size, 0, labels=classes, per_class=per_class)


@settings(max_examples=80, deadline=None)
@given(samplers(), st.integers(0, 5))
def test_every_batch_holds_whole_groups_and_an_epoch_no_image_twice(sampler, epoch):
    order = sampler.order(epoch)
    assert len(order) == sampler.used == sampler.steps * sampler.global_size
    assert len({*order.tolist()}) == len(order)
    for batch in order.reshape(sampler.steps, -1):
        counts = np.bincount(sampler.labels[batch])
        assert (counts % sampler.per_class == 0).all()
    whole = sum(int(count) // sampler.per_class * sampler.per_class for count in sampler.counts)
    assert whole - len(order) < sampler.global_size


@settings(max_examples=40, deadline=None)
@given(samplers(), st.integers(1, 3))
def test_the_batches_are_the_same_on_any_number_of_processes(sampler, world_size):
    if sampler.batch_size < world_size:
        return
    one = sampler.share(sampler.order(2))
    shares = [
        PerClassSampler(
            *(sampler.samples, sampler.batch_size, 0, rank, world_size),
            labels=sampler.labels,
            per_class=sampler.per_class,
        )
        for rank in range(world_size)
    ]
    assert np.array_equal(np.concatenate([s.share(s.order(2)) for s in shares], axis=1), one)


def test_over_epochs_all_images_are_seen_and_groups_are_mixed_anew():
    classes = np.repeat(np.arange(3), 5)
    sampler = PerClassSampler(15, 4, 0, labels=classes, per_class=2)
    seen = [sampler.order(epoch) for epoch in range(30)]
    assert {*np.concatenate(seen).tolist()} == {*range(15)}
    partners = {frozenset(order[[0, 2]].tolist()) for order in seen}  # of the first group
    assert len(partners) > 10


def test_neighbours_which_mixup_mixes_are_of_two_groups():
    sampler = PerClassSampler(400, 40, 0, labels=np.arange(400) % 10, per_class=4)
    pairs = sampler.labels[sampler.order(0)].reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).mean() < 0.3


def test_images_of_rare_classes_are_counted_and_said():
    classes = np.array([0] * 6 + [1] * 3 + [2] + [4])
    sampler = PerClassSampler(11, 4, 0, labels=classes, per_class=4)
    assert {*sampler.labels[sampler.order(0)].tolist()} == {0}
    assert sampler.left_out().startswith("5 training images are never seen: their 3 classes have")
    full = PerClassSampler(6, 3, 0, labels=classes[:6], per_class=3)
    assert full.left_out() is None


@pytest.mark.parametrize(
    ("size", "classes", "what", "where"),
    [
        (10, [0] * 12, "10 is no multiple of 4", ("batch_size",)),
        (8, [0, 1, 2], "No class has the 4", ("dataset", "train_subset")),
    ],
)
def test_what_cannot_be_grouped_is_refused(size, classes, what, where):
    with pytest.raises(ConfigError, match=what) as caught:
        PerClassSampler(len(classes), size, 0, labels=np.array(classes), per_class=4)
    assert caught.value.where == where


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_the_data_sets_setting_asks_for_it(pipeline):
    data = open_named("digits", per_class=4, batch_size=32, pipeline=pipeline, workers=0)
    classes = torch.from_numpy(labels(data, "train"))
    for _, y, index in data.train_batches(0):
        assert torch.equal(classes[index], y)
        assert (torch.bincount(y) % 4 == 0).all()


def test_a_setting_below_what_the_method_needs_is_refused(kdzoo):
    done = kdzoo("run", "method=cs_kd", "dataset.per_class=1", "backbone=resnet8", "epochs=1")
    assert done.code == 2
    assert "dataset.per_class" in done.err
    assert "needs 2 images" in done.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_size=33", "batch_size: 33 is no multiple of 2"),
        ("dataset.per_class=1", "dataset.per_class: The method needs 2 images"),
    ],
)
def test_what_no_data_can_mend_is_refused_before_they_are_read(kdzoo, tmp_path, setting, message):
    there_is_none = f"dataset.root={tmp_path / 'photos'}"
    done = kdzoo("run", "method=cs_kd", "dataset=imagefolder", there_is_none, setting)
    assert done.code == 2
    assert message in " ".join(done.err.split())
