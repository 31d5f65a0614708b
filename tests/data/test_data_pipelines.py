"""The two pipelines: one distribution of batches, and the choice between them."""

import numpy as np
import pytest
import torch
from data_helpers import epoch_of, labels, open_named, open_own, pixels
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from kdzoo.data import ArrayImages, Split, Splits
from kdzoo.data import prepare as prepare_module
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.errors import UserError

AUGMENTATIONS = {
    "none": {"flip": 0, "crop_padding": 0},
    "crop and flip": {"flip": 0.5, "crop_padding": 2},
    "cutout": {"cutout": 4},
    "random erasing": {"random_erasing": 0.5},
    "colours": {"color_jitter": {"brightness": 0.4, "contrast": 0.4, "hue": 0.1}},
    "mixup and cutmix": {"mixup": 0.4, "cutmix": 1},
}


@pytest.fixture
def root(folders):
    folders.fill("train", "abc", count=20, size=12)
    folders.fill("test", "abc", count=5, size=12)
    return folders.root


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_both_give_the_same_batches(root, augment, views):
    settings = {"root": root, "augment": augment, "image_size": 8, "workers": 0}
    device = open_named("imagefolder", **settings, pipeline="device")
    loader = open_named("imagefolder", **settings, pipeline="loader")
    assert device.info == loader.info
    assert device.steps_per_epoch == loader.steps_per_epoch == 7
    for one, other in zip(epoch_of(device, 1, views), epoch_of(loader, 1, views), strict=True):
        assert torch.equal(one, other)
    assert (pixels(device, "test") == pixels(loader, "test")).all()


@pytest.mark.parametrize("padding", [0, 4])
def test_random_resized_crops_are_the_same_up_to_one_level(root, padding):
    augment = {"resized_crop": 0.3, "crop_padding": padding}
    settings = {"root": root, "augment": augment, "workers": 0}
    device = open_named("imagefolder", **settings, pipeline="device")
    loader = open_named("imagefolder", **settings, pipeline="loader")
    one, other = epoch_of(device, 1, 2)[0], epoch_of(loader, 1, 2)[0]
    level = 1 / 255 / min(device.info.std)
    assert (one - other).abs().max() < 1.05 * level
    assert (one[:, 0] - one[:, 1]).abs().mean() > 10 * level, "each view has a crop of its own"


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(root, workers):
    settings = {"root": root, "pipeline": "loader", "augment": {"resized_crop": 0.3}}
    alone = open_named("imagefolder", **settings, workers=0)
    others = open_named("imagefolder", **settings, workers=workers)
    assert torch.equal(epoch_of(alone)[0], epoch_of(others)[0])
    assert (pixels(alone, "test") == pixels(others, "test")).all()


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_crop_and_flip_are_distributed_as_torchvisions(pipeline):
    """One image of 25 distinct pixels, so that its first and last pixel tell what was done."""
    image = np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1).repeat(3, 2) * 20
    count = 2000
    images = np.broadcast_to(image, (count, 3, 3, 3)).copy()
    images[0] = 0  # images that are all the same are refused
    split = Split(ArrayImages(images), np.arange(count) % 2)
    augment = {"crop_padding": 1, "flip": 0.5}
    settings = {"augment": augment, "pipeline": pipeline, "workers": 0}
    data = open_own(Given(split, settings), batch_size=count)
    (x, *_), *_ = data.train_batches(0)
    ours = x.movedim(1, -1) * torch.tensor(data.info.std) + torch.tensor(data.info.mean)
    ours = (ours * 255).round().byte().flatten(1).numpy()
    ours = ours[ours.any(axis=1)]
    theirs = v2.Compose([v2.RandomCrop(3, padding=1), v2.RandomHorizontalFlip()])
    torch.manual_seed(0)
    one = torch.from_numpy(image).movedim(-1, 0)
    reference = np.stack([theirs(one).movedim(0, -1).flatten().numpy() for _ in ours])
    outcomes, drawn = np.unique(np.concatenate([ours, reference]), axis=0, return_inverse=True)
    table = np.stack(
        [np.bincount(part, minlength=len(outcomes)) for part in np.split(drawn.ravel(), 2)]
    )
    assert len(outcomes) == 18
    assert stats.chi2_contingency(table).pvalue > 1e-4


class Given(Dataset):
    """The same images for training and test."""

    def __init__(self, split, settings):
        super().__init__(DatasetConfig(name="given", **settings))
        self._split = split

    def load(self):
        return Splits(self._split, self._split, classes=["one", "other"])


def test_small_images_go_to_the_device_and_large_ones_through_workers(root):
    assert "stay on cpu" in open_named("imagefolder", root=root).description
    large = open_named("imagefolder", root=root, image_size=128, workers=1)
    assert "read ahead by 1 worker" in large.description


def test_many_small_images_go_through_workers(root, monkeypatch):
    monkeypatch.setattr(prepare_module, "SMALL_TOTAL", 75 * 12 * 12 * 3 - 1)
    assert "worker" in open_named("imagefolder", root=root).description
    monkeypatch.setattr(prepare_module, "SMALL_TOTAL", 75 * 12 * 12 * 3)
    assert "stay on cpu" in open_named("imagefolder", root=root).description


def test_either_can_be_forced(root):
    forced = {"root": root, "pipeline": "loader", "workers": 0}
    assert "worker" in open_named("imagefolder", **forced).description
    forced = {"root": root, "pipeline": "device", "image_size": 128}
    assert "stay on cpu" in open_named("imagefolder", **forced).description


def test_large_images_are_resized_on_the_shorter_side_and_cropped_in_the_middle(folders):
    for split in ("train", "test"):
        folders.write(f"{split}/a/wide.png", width=40, height=20)
        folders.write(f"{split}/b/high.png", width=10, height=30)
    data = open_named("imagefolder", root=folders.root, image_size=10, pipeline="loader", workers=0)
    assert data.info.input_size == (3, 10, 10)
    wide, high = pixels(data, "test")
    with Image.open(folders.root / "test/b/high.png") as image:
        assert (high == np.asarray(image)[10:20]).all()
    with Image.open(folders.root / "test/a/wide.png") as image:
        reduced = np.asarray(image.resize((20, 10), Image.Resampling.BILINEAR)).astype(int)
    assert abs(wide - reduced[:, 5:15]).max() <= 1


def test_mean_and_std_are_those_of_the_training_images(root):
    for pipeline in ("device", "loader"):
        data = open_named("imagefolder", root=root, pipeline=pipeline, workers=0)
        stored = pixels(data, "train") / 255
        np.testing.assert_allclose(data.info.mean, stored.mean((0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(data.info.std, stored.std((0, 1, 2)), atol=1e-6)


def test_or_those_that_a_person_gives(root):
    given = {"mean": (0.5, 0.25, 0.1), "std": (0.2, 0.5, 1.0)}
    stored = torch.tensor(pixels(open_named("imagefolder", root=root), "test")).movedim(-1, 1) / 255
    for pipeline in ("device", "loader"):
        data = open_named("imagefolder", root=root, pipeline=pipeline, workers=0, **given)
        assert (data.info.mean, data.info.std) == (given["mean"], given["std"])
        seen = torch.cat([x for x, _ in data.eval_batches("test")])
        mean, std = (torch.tensor(one)[:, None, None] for one in given.values())
        torch.testing.assert_close(seen, (stored - mean) / std, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mean": (0.5,) * 3}, "std: There is a mean and no std"),
        ({"std": (0.5,) * 3}, "mean: There is a std and no mean"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, "mean: These are 2 numbers"),
        ({"mean": (123.0,) * 3, "std": (0.5,) * 3}, "mean: 123 is no mean of pixels"),
        ({"mean": (0.5,) * 3, "std": (0.0,) * 3}, "std: 0 is no std"),
    ],
)
def test_what_no_pixels_have_is_refused(root, given, says):
    with pytest.raises(UserError, match=says):
        open_named("imagefolder", root=root, **given)


def test_labels_of_large_images_belong_to_them(root):
    device = open_named("imagefolder", root=root)
    loader = open_named("imagefolder", root=root, pipeline="loader", workers=0)
    assert (labels(device, "train") == np.repeat([0, 1, 2], 20)).all()
    assert (labels(loader, "train") == np.repeat([0, 1, 2], 20)).all()
