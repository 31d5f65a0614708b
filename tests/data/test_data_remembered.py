"""What was found out about pixels once: kept with the decoded images, and only for these."""

import numpy as np
import pytest
from data_helpers import open_named, pixels

from kdzoo.data import normalisation, repeats


@pytest.fixture
def root(folders):
    folders.fill("train", count=10)
    folders.fill("test", count=3)
    return folders.root


@pytest.fixture
def unseen(monkeypatch):
    """From when it is called on, no pixels are looked at."""

    def fail(*arguments):
        raise AssertionError("nothing should be looked at")

    def forbid():
        monkeypatch.setattr(normalisation, "mean_and_std", fail)
        monkeypatch.setattr(repeats, "find_repeats", fail)

    return forbid


def exact_mean(data):
    return pixels(data, "train").mean((0, 1, 2)) / 255


def test_the_second_start_looks_at_no_pixels(root, unseen):
    settings = {"root": root, "val_fraction": 0.2}
    first = open_named("imagefolder", **settings)
    assert first.info.test_repeats == 0
    np.testing.assert_allclose(first.info.mean, exact_mean(first), atol=1e-6)
    unseen()
    assert open_named("imagefolder", **settings).info == first.info


@pytest.mark.parametrize("change", [{"seed": 1}, {"train_subset": 10}, {"image_size": 6}])
def test_other_samples_have_a_mean_of_their_own(root, change):
    settings = {"root": root, "val_fraction": 0.2}
    open_named("imagefolder", **settings)
    other = open_named("imagefolder", **{**settings, **change})
    np.testing.assert_allclose(other.info.mean, exact_mean(other), atol=1e-6)


def test_what_a_sample_told_is_not_taken_for_all(root, monkeypatch):
    monkeypatch.setattr(normalisation, "SAMPLE", 2)
    sampled = open_named("imagefolder", root=root, image_size=8, pipeline="loader", workers=0)
    exact = open_named("imagefolder", root=root, image_size=8, pipeline="device")
    np.testing.assert_allclose(exact.info.mean, exact_mean(exact), atol=1e-6)
    assert sampled.info.mean != exact.info.mean


def test_a_skipped_image_is_no_part_of_the_mean(root):
    damaged = root / "train/a/004.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    for _ in range(2):
        data = open_named("imagefolder", root=root, on_error="skip")
        assert data.info.train_size == 19
        np.testing.assert_allclose(data.info.mean, exact_mean(data), atol=1e-6)
