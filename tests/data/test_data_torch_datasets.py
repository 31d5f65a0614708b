"""A person's own torch data sets, and data sets of other packages."""

import catalogue
import numpy as np
import pytest
import torch
from data_helpers import epoch_of, labels, open_named, open_own, pixels
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset

from kdzoo.data import ArrayImages, Dataset, Split, Splits, data_from, splits_from
from kdzoo.errors import ConfigError, UserError
from kdzoo.registry import datasets

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


class Pairs(torch.utils.data.Dataset):
    """Images in one form or another, and labels."""

    def __init__(self, images=IMAGES, targets=LABELS, form=Image.fromarray):
        self.images, self.labels, self.form = images, targets, form

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.form(self.images[index]), self.labels[index]


FORMS = {
    "PIL": Image.fromarray,
    "array": lambda image: image,
    "uint8 tensor": lambda image: torch.from_numpy(image).movedim(-1, 0),
    "float tensor": lambda image: torch.from_numpy(image).movedim(-1, 0) / 255,
}


@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_own_data_sets_of_any_form(form, pipeline):
    pairs = Pairs(form=form)
    data = open_own(data_from(pairs, pairs, pipeline=pipeline, workers=0))
    assert data.info.name == "own"
    assert data.info.classes == ("0", "1", "2")
    assert (pixels(data, "test") == IMAGES).all()
    assert (labels(data, "test") == LABELS).all()
    x, y = epoch_of(data, views=2)
    assert (x.shape, y.shape) == ((1, 2, 8, 3, 6, 6), (1, 8))


@pytest.mark.parametrize(
    "form",
    [
        lambda image: Image.fromarray(image[..., 0]),
        lambda image: image[..., 0],
        lambda image: torch.from_numpy(image[..., 0])[None],
        lambda image: torch.from_numpy(image[..., 0]),
    ],
)
def test_grey_images_get_three_channels(form):
    pairs = Pairs(form=form)
    data = open_own(data_from(pairs, pairs))
    assert (pixels(data, "test") == IMAGES[..., :1]).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_pil_images_of_more_than_8_bits_are_refused(dtype):
    pairs = Pairs(form=lambda image: Image.fromarray(image[..., 0].astype(dtype)))
    with pytest.raises(UserError, match=r"more than 8 bits.*floats in \[0, 1\]"):
        open_own(data_from(pairs, pairs))


def test_everything_can_be_said():
    pairs = Pairs()
    own = data_from(
        pairs,
        pairs,
        val=pairs,
        classes=["a", "b", "c"],
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        name="mine",
        train_subset=6,
        augment={"flip": 0},
    )
    info = open_own(own).info
    assert (info.name, info.classes, info.mean) == ("mine", ("a", "b", "c"), (0.5, 0.5, 0.5))
    assert (info.train_size, info.val_size, info.test_size) == (6, 12, 12)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"classes": ["a", "b", "a"]}, "classes: Two classes have the name 'a'"),
        ({"mean": (120.0,) * 3, "std": (60.0,) * 3}, r"mean: 120 is no mean of pixels in \[0, 1\]"),
        ({"mean": (0.5,) * 3}, "There is a mean and no std"),
        ({"mean": (0.5,), "std": (0.2,)}, "images have 3 channels"),
    ],
)
def test_what_is_said_of_data_is_to_make_sense(said, words):
    with pytest.raises(UserError, match=words):
        open_own(data_from(Pairs(), Pairs(), **said))


def test_labels_come_from_targets_where_there_are_some():
    class Counted(Pairs):
        targets = LABELS.tolist()
        classes = ("x", "y", "z")
        read = 0

        def __getitem__(self, index):
            Counted.read += 1
            return super().__getitem__(index)

    counted = Counted()
    own = data_from(counted, counted)
    assert own.load().classes == ["x", "y", "z"]
    assert Counted.read == 0
    counted.target_transform = lambda label: 2 - label
    counted.labels = 2 - LABELS
    assert (own.load().train.labels == 2 - LABELS).all()


def test_tensors_as_labels():
    images = torch.from_numpy(IMAGES).movedim(-1, 1)
    pairs = TensorDataset(images, torch.from_numpy(LABELS))
    assert (labels(open_own(data_from(pairs, pairs)), "train") == LABELS).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Pairs(targets=np.where(LABELS == 2, 3, LABELS)), "no sample of the class '2'"),
        (Pairs(targets=LABELS - 1), "label -1"),
        (
            Pairs(targets=LABELS + 0.5),
            "label of sample 0 of Pairs is .*5, which is no whole number",
        ),
        (Pairs(targets=[np.nan, *LABELS[1:]]), "sample 0 of Pairs is nan"),
        (Pairs(targets=["cat"] * 12), "whole number"),
        (Pairs(targets=np.eye(12)), "whole number"),
        (Pairs(images=IMAGES[:0]), "no samples"),
        (Pairs(form=lambda image: torch.from_numpy(image).movedim(-1, 0) / 50), "normalising"),
        (Pairs(form=lambda image: image.astype(int)), "int64"),
        (Pairs(form=lambda image: image[..., :2]), "channels"),
        (Pairs(form=lambda image: 1 / 0), "sample 0 of Pairs.*division by zero"),
    ],
)
@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_what_is_wrong_with_a_data_set_is_said(wrong, message, pipeline):
    with pytest.raises(UserError, match=message):
        epoch_of(open_own(data_from(wrong, wrong, pipeline=pipeline, workers=0)))


def test_a_label_beyond_the_classes_is_named():
    with pytest.raises(UserError, match=r"Sample 2 of the test split has the label 7"):
        open_own(data_from(Pairs(), Pairs(targets=np.where(LABELS == 2, 7, LABELS))))
    with pytest.raises(UserError, match=r"label 2.*2 classes"):
        open_own(data_from(Pairs(), Pairs(), classes=["a", "b"]))


def test_a_stream_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([])

    with pytest.raises(UserError, match="map-style"):
        open_own(data_from(Stream(), Stream()))


def test_a_wrong_setting_is_refused():
    with pytest.raises(ConfigError, match="augment"):
        data_from(Pairs(), Pairs(), agument={})


def test_unreadable_samples_can_be_skipped_where_their_labels_are_known():
    def form(image):
        if (image == IMAGES[4]).all():
            raise OSError("gone")
        return image

    pairs = Pairs(form=form)
    pairs.targets = LABELS
    data = open_own(data_from(pairs, pairs, on_error="skip"))
    assert data.info.train_size == 11
    assert data.skipped == ["Cannot read sample 4 of Pairs (OSError: gone)"] * 2


def test_a_registered_data_set_of_arrays_or_of_torch_data_sets(monkeypatch):
    datasets.names()  # which registers ours for good
    monkeypatch.setattr(catalogue, "REGISTRY", catalogue.REGISTRY.copy())

    @datasets.register("arrays-of-a-test")
    class Arrays(Dataset):
        class Config(Dataset.Config):
            classes: int = 3

        config: Config

        def load(self):
            split = Split(ArrayImages(IMAGES), LABELS % self.config.classes)
            return Splits(split, split, classes=[str(one) for one in range(self.config.classes)])

    @datasets.register("torch-of-a-test")
    class Torch(Dataset):
        def load(self):
            return splits_from(Pairs(), Pairs())

    assert open_named("arrays-of-a-test", classes=2).info.num_classes == 2
    assert (pixels(open_named("torch-of-a-test"), "train") == IMAGES).all()
