"""Random crops of photographs, decoded no larger than they need to be."""

import numpy as np
import pytest
import torch
from data_helpers import open_named, pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdzoo.data import crops
from kdzoo.data.crops import RandomCrops
from kdzoo.data.images import FileImages
from kdzoo.data.resized_crop import crop_boxes, crop_shapes

WHOLE = [[1, 0.5, 0, 0]]
"""Draws the box that is the whole of a square image."""


def drawn(numbers, smallest, mirrored=False):
    shapes = crop_shapes(torch.tensor(numbers), smallest).numpy()
    return RandomCrops(shapes, np.full(len(shapes), mirrored))


def read(images, position, drawn, side):
    views = np.empty((drawn.views, side, side, 3), np.uint8)
    crops.read_crops(images, position, drawn, views)
    return views


def cut(pixels, drawn, side):
    views = np.empty((drawn.views, side, side, 3), np.uint8)
    crops.cut(pixels, drawn.boxes(pixels.shape), drawn.mirrored, views)
    return views


def smooth(side):
    """Colours that change slowly, so that a reduced image has them too."""
    ramp = np.linspace(0, 255, side)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    return Image.fromarray(image.astype(np.uint8))


def files(*paths):
    return FileImages([str(path) for path in paths], np.zeros((len(paths), 2), np.int64))


@pytest.mark.parametrize("turn", range(1, 9))
def test_reduced_crops_show_what_whole_ones_do(folders, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    photo = smooth(512).resize((640, 512))
    path = folders.save("photo.jpg", photo, quality=95, exif=exif)
    images = files(path)
    numbers = np.random.default_rng(turn).random((4, 4), np.float32)
    whole = images[0]
    exact = cut(whole, drawn(numbers, 0.5), 32).astype(int)
    reduced = read(images, 0, drawn(numbers, 0.5), 32).astype(int)
    assert reduced.shape == (4, 32, 32, 3)
    assert np.abs(exact - reduced).mean() < 2


@pytest.mark.parametrize(
    ("side", "loaded"), [(32, 64), (64, 64), (65, 128), (256, 256), (257, 512)]
)
def test_a_jpeg_is_decoded_at_the_size_that_crops_need(folders, monkeypatch, side, loaded):
    path = folders.save("photo.jpg", smooth(512))
    sizes = []
    monkeypatch.setattr(crops, "cut", lambda pixels, *rest: sizes.append(pixels.shape))
    read(files(path), 0, drawn(WHOLE, 1), side)
    assert sizes == [(loaded, loaded, 3)]


def test_crops_that_do_not_shrink_are_exact(folders):
    images = files(folders.save("photo.jpg", smooth(512)), folders.save("photo.png", smooth(512)))
    numbers = np.random.default_rng(0).random((2, 4), np.float32)
    for position, side in ((0, 300), (1, 32)):
        expected = cut(images[position], drawn(numbers, 0.5), side)
        assert np.array_equal(read(images, position, drawn(numbers, 0.5), side), expected)


def test_a_mirrored_crop_is_the_crop_flipped(folders):
    images = files(folders.save("photo.png", smooth(64)))
    plain, mirrored = (read(images, 0, drawn(WHOLE, 1, flip), 48) for flip in (False, True))
    assert np.array_equal(mirrored, plain[:, :, ::-1])
    assert not np.array_equal(mirrored, plain)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_boxes_are_the_same_by_array_and_by_tensor(height, width, seed):
    numbers = torch.rand(50, 4, generator=torch.Generator().manual_seed(seed))
    shapes = crop_shapes(numbers, 0.08)
    by_tensor = crop_boxes(shapes, height, width)
    by_array = crop_boxes(shapes.numpy(), height, width)
    for one, other in zip(by_tensor, by_array, strict=True):
        assert np.array_equal(one.numpy(), other)


def test_evaluation_sees_whole_images(folders):
    for split in ("train", "test"):
        for name in "ab":
            noise = np.random.default_rng(ord(name)).integers(0, 256, (800, 800, 3), np.uint8)
            folders.save(f"{split}/{name}/0.jpg", Image.fromarray(noise))
    settings = {"root": folders.root, "image_size": 100, "augment": {"resized_crop": 0.5}}
    data = open_named("imagefolder", batch_size=2, workers=0, **settings)
    with Image.open(folders.root / "test/a/0.jpg") as image:
        whole = cut(np.array(image), drawn(WHOLE, 1), 100)[0]
    assert np.abs(pixels(data, "test")[0].astype(int) - whole).max() <= 1


def test_a_damaged_photo_is_named(folders):
    folders.fill("train", size=128)
    folders.fill("test", size=128)
    path = folders.root / "train/a/000.png"
    path.write_bytes(path.read_bytes()[:2000])
    settings = {"root": folders.root, "image_size": 100, "augment": {"resized_crop": 0.5}}
    data = open_named("imagefolder", workers=0, on_error="skip", **settings)
    assert sum(len(y) for _, y, _ in data.train_batches(0)) == 8
    for epoch in range(3):
        list(data.train_batches(epoch))
    assert [path.name in why for why in data.skipped] == [True]
