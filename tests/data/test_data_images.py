"""The values of the pixels of image files, whatever the format and the mode."""

import io
import warnings

import numpy as np
import pytest
from data_helpers import open_named, pixels
from PIL import Image

from kdzoo.errors import UserError

PIPELINES = pytest.mark.parametrize("pipeline", ["device", "loader"])


def open_folder(folders, **settings):
    return open_named("imagefolder", root=folders.root, workers=0, **settings)


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes().removeprefix(b"Exif\0\0")


def photo(**options):
    image = Image.new("RGB", (8, 8), "red")
    image.putpixel((0, 0), (0, 0, 255))
    content = io.BytesIO()
    image.save(content, **options)
    return content.getvalue()


def two_frames(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("lime", "red")]
    content = io.BytesIO()
    frames[0].save(content, form, save_all=True, append_images=frames[1:], lossless=True)
    return content.getvalue()


def first_of(folders, name, content):
    """The pixels of a file in class a, which comes before all others of the training split."""
    folders.fill("train", count=1)
    folders.fill("test", count=1)
    (folders.root / "train/a" / name).write_bytes(content)
    return pixels(open_folder(folders), "train")[0]


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_it_is_the_first(folders, form):
    assert (first_of(folders, "0", two_frames(form)) == (0, 255, 0)).all()


def encoded(mode, value, form, **options):
    content = io.BytesIO()
    Image.new(mode, (8, 8), value).save(content, form, **options)
    return content.getvalue()


MODES = {
    "CMYK": (encoded("CMYK", (0, 255, 255, 0), "TIFF"), (255, 0, 0)),
    "CMYK, half black": (encoded("CMYK", (0, 0, 0, 127), "TIFF"), (128, 128, 128)),
    "bilevel": (encoded("1", 1, "TIFF"), (255, 255, 255)),
    "bilevel, black": (encoded("1", 0, "PNG"), (0, 0, 0)),
    "grey and alpha": (encoded("LA", (100, 255), "PNG"), (100, 100, 100)),
    "half transparent grey": (encoded("LA", (101, 127), "PNG"), (178, 178, 178)),
    "half transparent": (encoded("RGBA", (255, 0, 0, 127), "PNG"), (255, 128, 128)),
    "a transparent colour": (encoded("RGB", (1, 2, 3), "PNG", transparency=(1, 2, 3)), (255,) * 3),
    "a transparent grey": (encoded("L", 7, "PNG", transparency=7), (255, 255, 255)),
    "another transparent grey": (encoded("L", 7, "PNG", transparency=8), (7, 7, 7)),
    "a transparent entry of a palette": (encoded("P", 0, "GIF", transparency=0), (255, 255, 255)),
    "YCbCr": (encoded("YCbCr", (128, 128, 128), "TIFF"), (128, 128, 128)),
}


@pytest.mark.parametrize(("content", "expected"), MODES.values(), ids=MODES)
def test_modes(folders, content, expected):
    assert np.abs(first_of(folders, "0", content).astype(int) - expected).max() <= 1


def upright(value):
    """What the EXIF orientation ``value`` does to an image, by the standard's own words."""
    pixel = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    sides = {1: "as it is", 2: "mirrored", 3: "upside down", 4: "upside down, mirrored"}
    if value in (5, 6, 7, 8):  # the first row is the side, the first column top or bottom
        turned = pixel.swapaxes(0, 1)
        return pixel, {5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1], 8: turned[::-1]}[value]
    assert value in sides
    return pixel, {1: pixel, 2: pixel[:, ::-1], 3: pixel[::-1, ::-1], 4: pixel[::-1]}[value]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation(folders, value, form):
    pixel, expected = upright(value)
    exif = Image.Exif()
    exif[0x0112] = value
    content = io.BytesIO()
    Image.fromarray(pixel).save(content, form, exif=exif, lossless=True)
    assert (first_of(folders, "0", content.getvalue()) == expected).all()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0no TIFF header at all",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0",
        b"Exif\0\0" + orientation(77),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_do_not_make_an_image_unreadable(folders, exif, form):
    content = photo(format=form, lossless=True, exif=exif, quality=95)
    with warnings.catch_warnings(action="error"):
        found = first_of(folders, "0", content).astype(int)
    assert np.abs(found[4:, 4:] - (255, 0, 0)).max() <= 8


@PIPELINES
def test_images_that_are_all_the_same_are_refused(folders, pipeline):
    for split in ("train", "test"):
        for name in ("a/1", "a/2", "b/1", "b/2"):
            folders.save(f"{split}/{name}.png", Image.new("RGB", (8, 8)))
    with pytest.raises(UserError, match=r"All 4 training images are the same"):
        open_folder(folders, pipeline=pipeline)
    folders.save("train/b/2.png", Image.new("RGB", (8, 8), (0, 0, 1)))
    data = open_folder(folders, pipeline=pipeline)
    assert data.info.std[:2] == (1.0, 1.0), "channels without any contrast will do"


def test_images_of_one_colour_and_different_sizes_are_refused(folders):
    for split in ("train", "test"):
        for side, name in enumerate(("a/1", "a/2", "b/1", "b/2"), 8):
            folders.save(f"{split}/{name}.png", Image.new("RGB", (8, side), "red"))
    with pytest.raises(UserError, match=r"All 4 training images are the same"):
        open_folder(folders, image_size=8)
