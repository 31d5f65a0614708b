"""Random crops of photographs, decoded no larger than they need to be."""

import numpy as np
import pytest
from data_helpers import open_named, pixels
from PIL import Image

from kdzoo.data.crops import boxes_of, cut, read_crops
from kdzoo.data.images import FileImages

WHOLE = np.array([[1, 0.5, 0, 0]], np.float32)
"""Draws the box that is the whole of a square image."""


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
    boxes = boxes_of(numbers, *whole.shape[:2], 0.5)
    exact = cut(whole, boxes, 32, 32).astype(int)
    reduced = read_crops(images, 0, numbers, 0.5, 32, 32).astype(int)
    assert reduced.shape == (4, 32, 32, 3)
    assert np.abs(exact - reduced).mean() < 2


@pytest.mark.parametrize(
    ("side", "loaded"), [(32, 64), (64, 64), (65, 128), (256, 256), (257, 512)]
)
def test_a_jpeg_is_decoded_at_the_size_that_crops_need(folders, monkeypatch, side, loaded):
    path = folders.save("photo.jpg", smooth(512))
    sizes = []
    monkeypatch.setattr(
        "kdzoo.data.crops.cut", lambda pixels, *rest: sizes.append(pixels.shape) or pixels
    )
    read_crops(files(path), 0, WHOLE, 1, side, side)
    assert sizes == [(loaded, loaded, 3)]


def test_crops_that_do_not_shrink_are_exact(folders):
    images = files(folders.save("photo.jpg", smooth(512)), folders.save("photo.png", smooth(512)))
    numbers = np.random.default_rng(0).random((2, 4), np.float32)
    for position, side in ((0, 300), (1, 32)):
        expected = cut(images[position], boxes_of(numbers, 512, 512, 0.5), side, side)
        assert np.array_equal(read_crops(images, position, numbers, 0.5, side, side), expected)


def test_evaluation_sees_whole_images(folders):
    for split in ("train", "test"):
        for name in "ab":
            noise = np.random.default_rng(ord(name)).integers(0, 256, (800, 800, 3), np.uint8)
            folders.save(f"{split}/{name}/0.jpg", Image.fromarray(noise))
    settings = {"root": folders.root, "image_size": 100, "augment": {"resized_crop": 0.5}}
    data = open_named("imagefolder", batch_size=2, workers=0, **settings)
    with Image.open(folders.root / "test/a/0.jpg") as image:
        whole = cut(np.array(image), [(0, 0, 800, 800)], 100, 100)[0]
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
