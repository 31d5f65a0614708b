import numpy as np
import torch
from data_helpers import epoch_of, labels, open_named, pixels
from sklearn.datasets import load_digits


def test_digits_say_what_they_are():
    info = open_named("digits").info
    assert (info.name, info.num_classes, info.input_size) == ("digits", 10, (3, 8, 8))
    assert info.classes == tuple("0123456789")
    assert (info.train_size, info.val_size, info.test_size) == (1438, 0, 359)


def test_both_splits_together_are_the_bundled_images():
    data = open_named("digits")
    ours = np.concatenate([pixels(data, "train"), pixels(data, "test")])
    assert (ours[..., 0] == ours[..., 1]).all()
    assert (ours[..., 0] == ours[..., 2]).all()
    theirs = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, ours[..., 0])) == sorted(map(bytes, theirs))


def test_the_test_split_is_a_fifth_of_each_class_and_no_business_of_the_seed():
    data = open_named("digits", seed=0)
    found = labels(data, "test")
    shares = np.bincount(found) / (np.bincount(found) + np.bincount(labels(data, "train")))
    assert (abs(shares - 0.2) < 0.01).all()
    assert (pixels(open_named("digits", seed=1), "test") == pixels(data, "test")).all()


def test_training_images_are_normalised():
    data = open_named("digits", augment={"crop_padding": 0}, batch_size=1438)
    x, y = epoch_of(data)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-3


def test_digits_are_moved_by_at_most_a_pixel_and_not_mirrored():
    data = open_named("digits", batch_size=360)
    moved, *_ = next(data.train_batches(0))
    still = torch.cat([x for x, _ in data.eval_batches("train")])
    black = still.min()
    padded = torch.nn.functional.pad(still, (1, 1, 1, 1), value=float(black))
    shifts = torch.cat(
        [padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    ).flatten(1)
    # by matrix products, as is the default, distances near 0 are off by more than the bound
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(moved.flatten(1), shifts, compute_mode=exact)
    assert distances.amin(1).max() < 1e-5


def test_image_size_resizes_to_what_a_network_needs():
    data = open_named("digits", image_size=32)
    assert data.info.input_size == (3, 32, 32)
    assert next(data.train_batches(0))[0].shape == (8, 3, 32, 32)
    small = torch.from_numpy(pixels(open_named("digits"), "test")).movedim(-1, 1).float()
    expected = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear", antialias=True)
    large = torch.from_numpy(pixels(data, "test")).movedim(-1, 1)
    assert (large - expected).abs().max() <= 1
