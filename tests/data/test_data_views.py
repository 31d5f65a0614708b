"""Views of an image with augmentations of their own."""

import pytest
import torch
from data_helpers import Folders, open_named

from kdzoo.component import validate
from kdzoo.compose import compose
from kdzoo.datasets.digits import Digits
from kdzoo.errors import ConfigError
from kdzoo.identity import identity_of

VIEWS = [{}, {"crop_padding": 3}, {"cutout": 4, "color_jitter": {"brightness": 0.5}}]
SOME = {"train_subset": 48, "batch_size": 16}
SHARED = {"flip": 0.5, "crop_padding": 1}


def batches(views, **settings):
    return [x for x, *_ in open_named("digits", **SOME, **settings).train_batches(1, views)]


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_each_view_is_as_if_all_had_its_augmentation(pipeline):
    how = {"pipeline": pipeline, "workers": 0}
    found = batches(5, augment=SHARED, view_augments=VIEWS, **how)
    for view in range(5):
        own = VIEWS[view % len(VIEWS)]
        alone = batches(5, augment={**SHARED, **own}, **how)
        for several, same in zip(found, alone, strict=True):
            assert torch.equal(several[view], same[view])
    assert not torch.equal(found[0][0], found[0][3])  # draws of its own


def test_random_crops_are_those_of_each_view(tmp_path):
    folders = Folders(tmp_path / "photos")
    for split in ("train", "test"):
        folders.fill(split, size=20)
    views = [{"resized_crop": 0.9, "flip": 0}, {"resized_crop": 0.1, "flip": 1}]
    how = {"root": folders.root, "image_size": 16, "pipeline": "loader", "workers": 0}

    def first(**settings):
        return next(iter(open_named("imagefolder", **how, **settings).train_batches(0, 2)))[0]

    found = first(augment={"crop_padding": 0}, view_augments=views)
    for view, own in enumerate(views):
        assert torch.equal(found[view], first(augment={"crop_padding": 0, **own})[view])
    with pytest.raises(ConfigError, match="all views have a resized_crop or none"):
        first(augment={"crop_padding": 0}, view_augments=[{}, views[0]])


def test_a_view_has_what_all_have_but_for_its_changes():
    config = validate(Digits.Config, {"name": "digits", "view_augments": VIEWS})
    first, second, third = config.augments
    assert first.model_dump() == config.augment.model_dump()
    assert (second.crop_padding, second.flip) == (3, 0)  # a digit is never mirrored
    assert (third.crop_padding, third.color_jitter.brightness) == (1, 0.5)
    assert validate(Digits.Config, config.model_dump()) == config


def test_without_them_a_run_is_the_run_that_it_was():
    config = validate(Digits.Config, {"name": "digits"})
    assert "view_augments" not in identity_of(config.model_dump(), Digits.Config)
    typed = compose(["dataset.view_augments=[{}, {cutout: 3}]"]).dataset
    assert typed.augments[1].cutout == 3
    assert "view_augments" in identity_of(typed.model_dump(), Digits.Config)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([{"cutout": 3}], "One for all views is dataset.augment"),
        ([{}, {"mixup": 0.2}], "mixed alike"),
        ([{}, {"cutuot": 3}], "Did you mean cutout"),
    ],
)
def test_what_makes_no_sense_is_refused(views, message):
    with pytest.raises(ConfigError, match=message):
        validate(Digits.Config, {"name": "digits", "view_augments": views})


@pytest.mark.parametrize(
    ("method", "message"),
    [("mbde", "the method sees only one view"), ("kdcl", "3 augmentations.* 2 views")],
)
def test_more_augmentations_than_views_are_refused_before_any_work(
    kdzoo, tmp_path, method, message
):
    views = "dataset.view_augments=[{}, {cutout: 3}, {cutout: 4}]"
    done = kdzoo("run", f"method={method}", "backbone=resnet8", views, f"out={tmp_path}")
    assert done.code == 2
    assert "dataset.view_augments" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["okdph", "kdcl"])
def test_a_run_with_views_of_their_own(kdzoo, tmp_path, method):
    views = "dataset.view_augments=[{}, {cutout: 3}]"
    brief = ["backbone=resnet8", "epochs=1", "training.steps=2", "batch_size=8"]
    done = kdzoo("run", f"method={method}", *brief, views, f"out={tmp_path}")
    assert done.code == 0, done.err
