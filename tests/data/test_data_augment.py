"""Each augmentation against plain code or torchvision, and its distribution against the paper's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import functional as F

from kdzoo.component import validate
from kdzoo.data.augment import (
    AugmentConfig,
    cutout,
    flip,
    on_normalised,
    on_pixels,
    pad_and_crop,
    random_erasing,
)
from kdzoo.data.color_jitter import ColorJitterConfig, color_jitter, shift_hue
from kdzoo.data.mixing import Mixing
from kdzoo.data.resized_crop import crop_boxes, crop_shapes, resized_crop
from kdzoo.errors import ConfigError

CPU = torch.device("cpu")
UNLIKELY = 1e-4


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def images(random, count=16, height=8, width=8):
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=random)


@settings(max_examples=50)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(1, 5),
    u=st.tuples(*[st.floats(0, 1, exclude_max=True, width=32)] * 2),
)
def test_crop_is_a_window_of_the_padded_image(height, width, padding, u):
    x = images(torch.Generator().manual_seed(0), 2, height, width)
    cropped = pad_and_crop(x, torch.tensor([u, u]), padding)
    top, left = (int(one * (2 * padding + 1)) for one in u)
    frame = np.pad(x.numpy(), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    assert (cropped.numpy() == frame[:, top : top + height, left : left + width]).all()


def test_crop_places_are_uniform(random):
    """An image whose only bright pixel is its middle shows where it was cropped."""
    x = torch.zeros(20_000, 9, 9, 3, dtype=torch.uint8)
    x[:, 4, 4] = 255
    cropped = pad_and_crop(x, torch.rand(20_000, 2, generator=random), 2)
    place = cropped[..., 0].flatten(1).byte().argmax(1)
    counts = np.bincount(place.numpy(), minlength=81).reshape(9, 9)
    assert counts[2:7, 2:7].sum() == 20_000
    assert stats.chisquare(counts[2:7, 2:7].ravel()).pvalue > UNLIKELY


def test_flip_mirrors_the_chosen_samples(random):
    x = images(random)
    u = torch.rand(16, 1, generator=random)
    flipped = flip(x, u, 0.3)
    for before, after, number in zip(x, flipped, u, strict=True):
        assert torch.equal(after, before.flip(1) if number < 0.3 else before)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_clears_a_square_around_its_centre(side, random):
    x = torch.ones(100, 8, 10, 3)
    u = torch.rand(100, 2, generator=random)
    for cut, (down, across) in zip(cutout(x, u, side), u, strict=True):
        expected = torch.ones(8, 10, 3)
        top, left = int(down * 8) - side // 2, int(across * 10) - side // 2
        expected[max(top, 0) : top + side, max(left, 0) : left + side] = 0
        assert torch.equal(cut, expected)


def test_random_erasing_clears_one_box_inside(random):
    x = torch.ones(4000, 32, 32, 3)
    erased = 1 - random_erasing(x, torch.rand(4000, 5, generator=random), 0.25)[..., 0]
    hit = erased.sum((1, 2)) > 0
    assert stats.binomtest(int(hit.sum()), 4000, 0.25).pvalue > UNLIKELY
    rows, columns = erased[hit].amax(2).sum(1), erased[hit].amax(1).sum(1)
    assert torch.equal(rows * columns, erased[hit].sum((1, 2)))
    area = rows * columns / 32**2
    assert 0.015 < area.min() < 0.03
    assert 0.3 < area.max() < 0.345
    assert stats.kstest(area.numpy(), "uniform", (0.02, 0.31)).pvalue > UNLIKELY


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "hue"])
def test_colour_jitter_is_torchvisions(change, random):
    x = images(random)
    u = torch.rand(16, 4, generator=random)
    strength = 0.3
    jittered = color_jitter(x, u, ColorJitterConfig(**{change: strength}))
    adjust = getattr(F, f"adjust_{change}")
    column = ["brightness", "contrast", "saturation", "hue"].index(change)
    for before, after, number in zip(x, jittered, u[:, column].tolist(), strict=True):
        factor = (2 * number - 1) * strength + (0 if change == "hue" else 1)
        expected = adjust(before.movedim(-1, 0).float() / 255, factor).movedim(0, -1) * 255
        torch.testing.assert_close(after, expected, rtol=0, atol=0.05)


def test_colour_factors_do_not_fall_below_zero():
    dark = color_jitter(
        torch.full((1, 2, 2, 3), 100), torch.zeros(1, 4), ColorJitterConfig(brightness=3)
    )
    assert dark.eq(0).all()


def test_a_full_turn_of_the_hue_changes_nothing(random):
    x = images(random).float()
    torch.testing.assert_close(shift_hue(x, torch.ones(16, 1, 1, 1)), x, rtol=0, atol=0.01)


@pytest.mark.parametrize("smallest", [0.08, 0.5, 1.0])
def test_resized_crop_is_torchvisions(smallest, random):
    x = images(random, height=12, width=9)
    u = torch.rand(16, 4, generator=random)
    sides = [side.int().tolist() for side in crop_boxes(crop_shapes(u, smallest), 12, 9)]
    for before, after, box in zip(x, resized_crop(x, u, smallest), zip(*sides), strict=True):  # noqa: B905
        expected = F.resized_crop(before.movedim(-1, 0).float(), *box, [12, 9], antialias=True)
        torch.testing.assert_close(after, expected.movedim(0, -1), rtol=0, atol=0.01)


def test_crop_boxes_have_the_areas_and_ratios_of_random_resized_crop(random):
    u = torch.rand(5000, 4, generator=random)
    top, left, height, width = crop_boxes(crop_shapes(u, 0.3), 1000, 1000)
    assert ((top >= 0) & (top + height <= 1000) & (left >= 0) & (left + width <= 1000)).all()
    fits = (height < 1000) & (width < 1000)
    small = fits & (height * width < 0.6e6)  # none of these was cut off
    areas = (height * width)[small] / 1e6
    assert stats.kstest(areas.numpy(), "uniform", (0.3, 0.3)).pvalue > UNLIKELY
    ratios = (width / height)[small].log().numpy()
    assert stats.kstest(ratios, "uniform", (-math.log(4 / 3), 2 * math.log(4 / 3))).pvalue > 1e-4


def mixed(random, count=16, views=1, **alphas):
    """A batch in which each sample is one colour, mixed: what each kept, and what it was given."""
    colours = torch.arange(count).float()
    x = colours[None, :, None, None, None].expand(views, count, 20, 20, 3).clone()
    mixing = Mixing(AugmentConfig(**alphas), count, CPU)
    numbers = torch.from_numpy(mixing.draw(np.random.default_rng(0), count))
    x, targets = mixing.apply(x, torch.arange(count), numbers)
    return x, targets


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.3, "cutmix": 1.0}])
def test_labels_are_mixed_as_the_images_are(random, alphas):
    x, targets = mixed(random, views=2, **alphas)
    assert torch.equal(x[0], x[1])
    colours = torch.arange(16).float()
    torch.testing.assert_close(x[0].mean((1, 2, 3)), targets @ colours, rtol=0, atol=1e-4)
    torch.testing.assert_close(targets.sum(1), torch.ones(16))
    assert ((targets > 0).sum(1) <= 2).all()
    assert len(targets.amax(1).unique()) > 8, "each sample has a draw of its own"


def test_cutmix_pastes_one_box():
    x, _ = mixed(None, cutmix=1.0)
    for sample, (first, *_rest) in enumerate(zip(x[0], strict=True)):
        foreign = first[..., 0] != sample
        assert first[foreign].unique().tolist() in ([], [sample ^ 1])
        assert foreign.sum() == foreign.any(1).sum() * foreign.any(0).sum()


def test_mixup_weights_are_beta_distributed():
    _, targets = mixed(None, count=2000, mixup=0.4)
    kept = targets.diagonal().numpy()
    assert stats.kstest(kept, "beta", (0.4, 0.4)).pvalue > UNLIKELY


def test_with_both_each_sample_takes_one():
    x, _ = mixed(None, count=2000, mixup=1.0, cutmix=1.0)
    values = x[0, ..., 0].flatten(1)
    blended = ((values % 1) != 0).any(1)
    assert stats.binomtest(int(blended.sum()), 2000, 0.5).pvalue > UNLIKELY


def test_an_odd_sample_out_stays_as_it_is():
    x, targets = mixed(None, count=7, mixup=1.0)
    assert x[0, 6].eq(6).all()
    assert targets[6].tolist() == [0] * 6 + [1]


def test_nothing_is_done_unless_asked_for():
    config = AugmentConfig(crop_padding=0, flip=0)
    assert on_pixels(config) == on_normalised(config) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"crop_padding": -1},
        {"mixup": -0.1},
        {"resized_crop": 0},
        {"color_jitter": {"hue": 0.6}},
        {"rotate": 10},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        validate(AugmentConfig, wrong)
