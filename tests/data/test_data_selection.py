"""Which samples take part in a run."""

import numpy as np
import pytest
from data_helpers import labels, open_named, pixels
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.data.selection import stratified_order
from kdzoo.errors import ConfigError


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
    part=st.floats(0, 1),
)
def test_a_prefix_has_the_proportions_of_the_whole(counts, seed, part):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    order = stratified_order(classes, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(classes)))
    prefix = order[: round(part * len(classes))]
    found = np.bincount(classes[prefix], minlength=len(counts))
    assert (abs(found - part * np.array(counts)) <= 1 + len(counts) / 2).all()


def test_equal_classes_take_turns():
    classes = np.tile(np.arange(10), 30)
    order = stratified_order(classes, np.random.default_rng(0))
    for rounds in range(1, 31):
        assert (np.bincount(classes[order[: 10 * rounds]]) == rounds).all()


def test_validation_is_held_out_of_training_in_proportion():
    whole = open_named("digits")
    data = open_named("digits", val_fraction=0.25)
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (1078, 360, 359)
    shares = np.bincount(labels(data, "val")) / np.bincount(labels(whole, "train"))
    assert (abs(shares - 0.25) < 0.015).all()
    both = np.concatenate([pixels(data, "train"), pixels(data, "val")])
    assert sorted(map(bytes, both)) == sorted(map(bytes, pixels(whole, "train")))
    assert (pixels(data, "test") == pixels(whole, "test")).all()


def test_what_is_held_out_depends_on_the_seed():
    first = pixels(open_named("digits", val_fraction=0.1), "val")
    assert (first == pixels(open_named("digits", val_fraction=0.1), "val")).all()
    other = pixels(open_named("digits", val_fraction=0.1, seed=1), "val")
    assert (first != other).any()


def test_mean_and_std_do_not_look_at_what_is_held_out():
    assert open_named("digits", val_fraction=0.5).info.mean != open_named("digits").info.mean


def test_a_subset_is_stratified_and_lies_inside_larger_ones():
    small = open_named("digits", train_subset=100)
    large = open_named("digits", train_subset=500)
    assert (small.info.train_size, large.info.train_size) == (100, 500)
    assert set(np.bincount(labels(small, "train"))) <= {9, 10, 11}
    assert set(map(bytes, pixels(small, "train"))) <= set(map(bytes, pixels(large, "train")))


def test_label_noise_gives_that_share_wrong_labels_to_training_only():
    clean = open_named("digits", val_fraction=0.1)
    noisy = open_named("digits", val_fraction=0.1, label_noise=0.4)
    true, given_labels = labels(clean, "train"), labels(noisy, "train")
    assert (pixels(clean, "train") == pixels(noisy, "train")).all()
    assert (true != given_labels).sum() == round(0.4 * len(true))
    assert len(set((given_labels - true)[true != given_labels] % 10)) == 9
    for split in ("val", "test"):
        assert (labels(clean, split) == labels(noisy, split)).all()


def test_imbalance_makes_later_classes_exponentially_rarer():
    before = np.bincount(labels(open_named("digits"), "train"))
    after = np.bincount(labels(open_named("digits", imbalance=10), "train"))
    np.testing.assert_allclose(after, before * 10.0 ** -np.linspace(0, 1, 10), atol=0.51)


def test_they_go_together():
    data = open_named(
        "digits", val_fraction=0.1, imbalance=5, train_subset=200, label_noise=0.1, batch_size=50
    )
    assert data.info.train_size == 200
    assert data.steps_per_epoch == 4


@pytest.mark.parametrize(
    ("setting", "value"),
    [("train_subset", 5), ("train_subset", 1439), ("val_fraction", 0.0001)],
)
def test_what_does_not_fit_the_data_is_named(setting, value):
    with pytest.raises(ConfigError) as error:
        open_named("digits", **{setting: value})
    assert error.value.where == ("dataset", setting)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("val_fraction", 1.0),
        ("train_subset", 0),
        ("imbalance", 0.5),
        ("label_noise", -1),
        ("pipeline", "gpu"),
        ("on_error", "ignore"),
        ("image_size", 0),
    ],
)
def test_wrong_values_are_refused(setting, value):
    with pytest.raises(ConfigError) as error:
        open_named("digits", **{setting: value})
    assert error.value.where == (setting,)


def test_a_set_with_a_validation_split_keeps_it(folders):
    for split in ("train", "val", "test"):
        folders.fill(split)
    assert open_named("imagefolder", root=folders.root).info.val_size == 12
    with pytest.raises(ConfigError, match="of its own"):
        open_named("imagefolder", root=folders.root, val_fraction=0.1)
