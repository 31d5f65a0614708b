"""Which files are images, whatever they are called."""

import io
import os

import pytest
from data_helpers import open_named
from PIL import Image

from kdzoo.component import validate
from kdzoo.errors import UserError
from kdzoo.registry import datasets


def open_folder(folders, **settings):
    return open_named("imagefolder", root=folders.root, workers=0, **settings)


def photo(**options):
    image = Image.new("RGB", (8, 8), "red")
    image.putpixel((0, 0), (0, 0, 255))
    content = io.BytesIO()
    image.save(content, **options)
    return content.getvalue()


def count(folders, name, content):
    """How many images there are in a class folder with one more file."""
    folders.fill(".", count=10)
    (folders.root / "a" / name).write_bytes(content)
    info = open_folder(folders, image_size=8).info
    return info.train_size + info.test_size


@pytest.mark.parametrize("name", ["x.jfif", "x.JPE", "x.jpg", "x", "x.orig", "x.mpo", "x.1"])
def test_a_photo_counts_whatever_its_name(folders, name):
    assert count(folders, name, photo(format="JPEG")) == 21


@pytest.mark.parametrize("form", ["AVIF", "BMP", "GIF", "ICO", "JPEG2000", "PCX", "PPM", "TGA"])
@pytest.mark.parametrize("named", [True, False])
def test_every_format_of_pillow_counts(folders, form, named):
    ending = {"JPEG2000": ".jp2"}.get(form, f".{form.lower()}") if named else ""
    assert count(folders, f"x{ending}", photo(format=form)) == 21


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"no image\n"),
        ("notes", b""),
        ("labels.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
        ("film.mpg", b"\x00\x00\x01\xb3" + bytes(100)),
        ("paper.pdf", b"%PDF-1.4\n"),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"),
        ("drawing", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"),
    ],
)
def test_what_is_no_image_does_not_count_and_is_named(folders, name, content):
    assert count(folders, name, content) == 20
    dataset = datasets.get("imagefolder")
    splits = dataset(validate(dataset.Config, {"name": "imagefolder", "root": folders.root})).load()
    assert any(f"1 of no image format (a/{name})" in note for note in splits.remarks())


def test_a_pipe_without_an_extension_is_not_waited_for(folders):
    folders.fill(".", count=10)
    os.mkfifo(folders.root / "a/pipe")
    assert open_folder(folders).info.train_size == 16


@pytest.mark.parametrize("name", ["drawing.png", "drawing.jpg"])
def test_no_other_program_is_started_for_an_image(folders, name, monkeypatch):
    folders.fill("train")
    folders.fill("test")
    drawing = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    (folders.root / "train/a" / name).write_bytes(drawing)
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(UserError, match=rf"{name}.*cannot identify"):
        open_folder(folders)
