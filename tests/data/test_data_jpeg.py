"""Photographs in JPEG files: whoever decodes them, the pixels are Pillow's."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from kdzoo.data.encoded import decode_upright
from kdzoo.data.image_files import open_image
from kdzoo.data.jpeg import decode_jpeg

WIDTH, HEIGHT = 251, 187


@pytest.fixture(scope="module")
def photo():
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def exif(turn):
    data = Image.Exif()
    data[0x0112] = turn
    return data


COLOUR = {
    "full colour": {"subsampling": "4:4:4"},
    "half colour": {"subsampling": "4:2:2"},
    "quarter colour": {"subsampling": "4:2:0", "quality": 30},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 2},
    "red, green and blue": {"keep_rgb": True},
    "followed by something": {},
    **{f"turned {turn}": {"exif": exif(turn)} for turn in range(1, 9)},
}


@pytest.mark.parametrize("kind", COLOUR)
def test_colour_photos_have_the_pixels_of_pillow(photo, kind):
    content = jpeg(photo, **COLOUR[kind]) + (b"more" if kind == "followed by something" else b"")
    with Image.open(io.BytesIO(content)) as image:
        unturned, upright = np.array(image), np.array(ImageOps.exif_transpose(image))
    with open_image(content) as image:
        assert np.array_equal(decode_jpeg(image), unturned)
        assert np.array_equal(decode_upright(image), upright)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_photos_are_left_to_pillow(photo, mode):
    content = jpeg(photo.convert(mode))
    with open_image(content) as image:
        assert decode_jpeg(image) is None
        assert np.array_equal(
            decode_upright(image), np.array(Image.open(io.BytesIO(content)).convert("RGB"))
        )


def test_what_is_in_memory_is_left_to_pillow(photo):
    with open_image(jpeg(photo)) as image:
        image.load()
        image.paste("red", (0, 0, 10, 10))
        assert decode_jpeg(image) is None
        assert tuple(decode_upright(image)[5, 5]) == (255, 0, 0)
    assert decode_jpeg(photo) is None


@pytest.mark.parametrize("seed", range(40))
def test_damaged_photos_are_what_they_are_to_pillow(photo, seed):
    """Cut off, or with some bytes changed: refused by both, or with the same pixels in both."""
    random = np.random.default_rng(seed)
    content = bytearray(jpeg(photo, progressive=seed % 4 == 1, restart_marker_rows=seed % 3))
    if seed % 2:
        del content[int(random.integers(20, len(content))) :]
    else:
        for place in random.integers(20, len(content), seed // 2 + 1):
            content[place] = random.integers(256)
    try:
        with open_image(bytes(content)) as image:
            expected = np.array(image.convert("RGB"))
    except Exception as error:
        with pytest.raises(type(error)), open_image(bytes(content)) as image:
            decode_upright(image)
    else:
        with open_image(bytes(content)) as image:
            found = decode_upright(image)
        turned = np.array(ImageOps.exif_transpose(Image.fromarray(expected)))
        assert np.array_equal(found, turned)
