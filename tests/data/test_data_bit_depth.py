"""Images of more than 8 bits a channel: one range for all of a data set, whatever the format."""

import struct
import zlib

import numpy as np
import pytest
from data_helpers import Folders, open_named, pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdzoo.data.bit_depth import PixelRange, deep_pixels
from kdzoo.data.prepare import make_pipeline
from kdzoo.errors import UserError
from kdzoo.student import read_student_info

PIPELINES = pytest.mark.parametrize("pipeline", ["device", "loader"])
NONE, DEFLATE = 1, 8  # how TIFF files are compressed
RANDOM = np.random.default_rng(0)


def open_folder(folders, **settings):
    return open_named("imagefolder", root=folders.root, workers=0, **settings)


def sixteen_bits(pixels):
    return Image.fromarray(pixels.astype(np.uint16))


def grey(highest, count=6, low=0):
    """Images of 8x8 whole numbers; the lowest and highest value are in the first."""
    images = RANDOM.integers(low, highest, (count, 8, 8), endpoint=True)
    images[0, 0, :2] = low, highest
    return images


def fill(folders, images, make=sixteen_bits, ending="png"):
    """Images by turns in two classes of a split ``train``, and again in ``test``."""
    for number, image in enumerate(images):
        for split in ("train", "test"):
            folders.save(f"{split}/{'ab'[number % 2]}/{number}.{ending}", make(image))


def in_order(images):
    return [*images[::2], *images[1::2]]


KINDS = {
    "png": ("png", sixteen_bits, 16),
    "tiff": ("tif", sixteen_bits, 16),
    "big-endian tiff": (
        "tif",
        lambda image: Image.frombytes("I;16B", (8, 8), image.astype(">u2").tobytes()),
        16,
    ),
    "32-bit tiff": ("tif", lambda image: Image.fromarray(image.astype(np.int32)), 32),
    "float tiff": ("tif", lambda image: Image.fromarray(image.astype(np.float32)), 32),
}


@PIPELINES
@pytest.mark.parametrize("highest", [255, 4095, 65535])
@pytest.mark.parametrize(("ending", "make", "bits"), KINDS.values(), ids=KINDS)
def test_deep_images_are_scaled_by_the_range_of_all(folders, ending, make, bits, highest, pipeline):
    images = grey(highest)
    fill(folders, images, make, ending)
    data = open_folder(folders, pipeline=pipeline)
    expected = np.rint(np.array(in_order(images)) * 255 / highest)
    for split in ("train", "test"):
        found = pixels(data, split)
        assert (found[..., 0] == expected).all()
        assert (found == found[..., :1]).all()
    assert data.info.pixel_range == (0, highest)
    assert data.notes[0] == f"{bits}-bit images: 0 to {highest} became 0 to 255"
    assert data.info.mean[0] == pytest.approx(expected.mean() / 255)


def test_floating_point_numbers_in_any_range(folders):
    images = RANDOM.uniform(-1.5, 0.25, (4, 8, 8)).astype(np.float32)
    fill(folders, images, Image.fromarray, "tif")
    data = open_folder(folders)
    low, high = float(images.min()), float(images.max())
    expected = np.rint((np.array(in_order(images)).astype(float) - low) / (high - low) * 255)
    assert (pixels(data, "train")[..., 0] == expected).all()


def test_the_range_is_that_of_the_training_split_in_all_of_them(folders):
    images = grey(1000, low=200)
    fill(folders, images)
    folders.save("test/a/0.png", sixteen_bits(np.full((8, 8), 600)))
    folders.save("test/a/2.png", sixteen_bits(np.full((8, 8), 5000)))
    found = pixels(open_folder(folders), "test")
    assert (found[0] == round(255 * 400 / 800)).all()
    assert (found[1] == 255).all()


@PIPELINES
def test_later_images_are_scaled_as_those_that_were_trained_on(folders, pipeline):
    fill(folders, grey(100))
    data = open_named(
        "imagefolder", root=folders.root, workers=0, pipeline=pipeline, pixel_range=(0, 4095)
    )
    assert data.info.pixel_range == (0, 4095)
    assert pixels(data, "train").max() == round(100 * 255 / 4095)


def test_another_range_is_not_read_out_of_the_cache(folders):
    images = grey(100)
    fill(folders, images)
    assert pixels(open_folder(folders), "test").max() == 255
    assert pixels(open_folder(folders, pixel_range=(0, 200)), "test").max() == round(255 / 2)


@pytest.mark.parametrize("damage", [None, "flipped", "empty", "folder"])
def test_the_range_of_files_that_did_not_change_is_known(folders, cache, monkeypatch, damage):
    fill(folders, grey(4095), sixteen_bits, "png")
    first = open_folder(folders)
    (known,) = cache.glob("*.range")
    read = []
    monkeypatch.setattr(
        "kdzoo.data.pixel_range.deep_pixels",
        lambda image: (read.append(image), deep_pixels(image))[1],
    )
    if damage == "flipped":
        known.write_text(known.read_text().replace("4095", "4195"))
    elif damage == "empty":
        known.write_text("")
    elif damage == "folder":
        known.unlink()
        known.mkdir()
    again = open_folder(folders)
    assert again.info.pixel_range == first.info.pixel_range == (0, 4095)
    assert again.notes == first.notes
    assert (pixels(again, "train") == pixels(first, "train")).all()
    assert bool(read) == bool(damage)
    sixteen_bits(grey(255)[0] + 9000).save(folders.root / "train/a/0.png")
    assert open_folder(folders).info.pixel_range[1] > 9000


def test_images_of_8_bits_stay_as_they_are_among_deep_ones(folders):
    fill(folders, grey(4095))
    pixel = folders.write("train/a/0.png")
    data = open_folder(folders)
    assert (pixels(data, "train")[0] == pixel).all()


def test_images_of_8_bits_have_no_range(folders):
    folders.fill("train")
    folders.fill("test")
    data = open_folder(folders)
    assert (data.info.pixel_range, data.notes) == (None, [])


def test_a_deep_image_that_shows_up_late_is_named(folders):
    folders.fill("train", count=200)
    folders.fill("test")
    folders.save("train/b/001.png", sixteen_bits(grey(4095)[0]))
    with pytest.raises(UserError, match=r"train/b/001\.png.*more than 8 bits"):
        open_folder(folders)
    assert open_folder(folders, on_error="skip").info.train_size == 399


def test_whole_and_floating_point_numbers_have_no_common_range(folders):
    fill(folders, grey(4095), ending="tif")
    folders.save("train/b/1.tif", Image.fromarray(np.ones((8, 8), np.float32)))
    with pytest.raises(UserError, match=r"b/1\.tif.*Convert either"):
        open_folder(folders)


def test_an_image_with_numbers_that_are_none_is_unreadable(folders):
    images = grey(9).astype(np.float32)
    fill(folders, images, Image.fromarray, "tif")
    images[1, 0, 0] = np.nan
    folders.save("train/b/1.tif", Image.fromarray(images[1]))
    with pytest.raises(UserError, match=r"b/1\.tif.*finite"):
        open_folder(folders)
    assert open_folder(folders, on_error="skip").info.pixel_range == (0, 9)


def png(pixels, **chunks):
    """A PNG file of 16 bits in each of [H, W, C] channels, which Pillow cannot write."""
    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), content) for name, content in chunks.items())
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            extra,
            chunk(b"IEND", b""),
        ]
    )


def colours(folders, channels, **chunks):
    """Deep PNG files with so many channels in two classes of both splits, and their pixels."""
    folders.fill("train", count=1)  # to be written over
    folders.fill("test", count=1)
    images = RANDOM.integers(0, 4096, (2, 8, 8, channels))
    images[0, 0, :2, 0] = 0, 4095
    if channels in (2, 4):
        images[..., -1] = 65535
        images[:, 0, 2, -1] = 0
    for name, image in zip("ab", images, strict=True):
        for split in ("train", "test"):
            (folders.root / f"{split}/{name}/000.png").write_bytes(png(image, **chunks))
    return images


@PIPELINES
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_in_several_channels(folders, channels, pipeline):
    images = colours(folders, channels)
    data = open_folder(folders, pipeline=pipeline)
    assert data.info.pixel_range == (0, 4095)
    expected = np.rint(images[..., : 1 if channels < 3 else 3] * 255 / 4095)
    if channels in (2, 4):
        expected[:, 0, 2] = 255  # what is transparent is put on white
    assert (pixels(data, "train") == expected).all()


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_deep_images_are_turned_too(folders):
    images = colours(folders, 3, eXIf=orientation(6))
    found = pixels(open_folder(folders), "train")
    assert (found == np.rint(np.rot90(images, -1, axes=(1, 2)) * 255 / 4095)).all()


def tiff(pixels, order, compression):
    """A TIFF file of 16 bits in each of three channels, in either byte order."""
    height, width, _ = pixels.shape
    content = pixels.astype(f"{order}u2").tobytes()
    if compression == DEFLATE:
        content = zlib.compress(content)
    start = 8 + 2 + 9 * 12 + 4

    def tag(number, kind, value):
        packed = struct.pack(f"{order}{'HI'[kind // 4]}", value).ljust(4, b"\0")
        return struct.pack(f"{order}HHI", number, kind, 1) + packed

    tags = [tag(256, 3, width), tag(257, 3, height)]
    tags += [
        struct.pack(f"{order}HHII", 258, 3, 3, start),
        tag(259, 3, compression),
        tag(262, 3, 2),
    ]
    tags += [tag(273, 4, start + 6), tag(277, 3, 3), tag(278, 3, height), tag(279, 4, len(content))]
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    bits = struct.pack(f"{order}HHH", 16, 16, 16)
    directory = struct.pack(f"{order}H", len(tags)) + b"".join(tags) + bytes(4)
    return header + directory + bits + content


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("order", "<>")
def test_tiff_of_16_bits_in_three_channels(folders, order, compression):
    images = colours(folders, 3)
    for name, image in zip("ab", images, strict=True):
        for path in (folders.root / "train" / name).iterdir():
            path.with_suffix(".tif").write_bytes(tiff(image, order, compression))
            path.unlink()
    assert (pixels(open_folder(folders), "train") == np.rint(images * 255 / 4095)).all()


def test_a_student_and_its_evaluation_keep_the_range(folders, tmp_path, kdzoo, monkeypatch):
    fill(folders, grey(4095))
    data = ["dataset=imagefolder", f"dataset.root={folders.root}", "dataset.workers=0"]
    short = ["method=independent", "backbone=resnet8", "epochs=1", "batch_size=3", "device=cpu"]
    trained = kdzoo("run", *data, *short, f"out={tmp_path / 'runs'}")
    assert trained.code == 0
    assert "16-bit images: 0 to 4095 became 0 to 255" in trained.out + trained.err
    (student,) = (tmp_path / "runs").rglob("student.json")
    assert read_student_info(student.parent).pixel_range == (0, 4095)

    darker = Folders(tmp_path / "darker")
    fill(darker, grey(100))
    opened = []

    def spy(*arguments, **settings):
        opened.append(make_pipeline(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr("kdzoo.training.evaluate_student.make_pipeline", spy)
    assert kdzoo("eval", str(student.parent), f"dataset.root={darker.root}").code == 0
    assert pixels(opened[0], "test").max() == round(100 * 255 / 4095)


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30), st.floats(0, 1))
def test_a_range_maps_its_ends_to_0_and_255(one, other, share):
    low, high = sorted([one, other])
    inside = min(low + share * (high - low), high)
    found = PixelRange(low, high).to_bytes(np.array([low, inside, high]))
    assert found[0] == 0
    assert found[0] <= found[1] <= found[2]
    assert found[2] == (255 if high > low else 0)
