"""Class folders of image files: layouts, image formats, and what is wrong with them."""

import logging
import struct

import numpy as np
import pytest
from data_helpers import epoch_of, labels, open_named, pixels
from PIL import Image

from kdzoo.errors import ConfigError, UserError

PIPELINES = pytest.mark.parametrize("pipeline", ["device", "loader"])


def open_folder(folders, **settings):
    return open_named("imagefolder", root=folders.root, workers=0, **settings)


def test_one_folder_is_divided_by_class_in_the_same_way_each_time(folders):
    folders.fill(".", ["cat", "dog"], count=10)
    data = open_folder(folders, test_fraction=0.3)
    assert np.bincount(labels(data, "train")).tolist() == [7, 7]
    assert np.bincount(labels(data, "test")).tolist() == [3, 3]
    again = open_folder(folders, test_fraction=0.3, seed=7)
    assert (pixels(again, "test") == pixels(data, "test")).all()


def test_folders_inside_class_folders_count_and_other_files_do_not(folders):
    folders.fill("train", count=2)
    folders.fill("test", count=2)
    folders.write("train/a/deeper/one.png")
    folders.write("train/a/.hidden.png")
    folders.write("train/.cache/one.png")
    (folders.root / "train/a/notes.txt").write_text("not an image")
    assert open_folder(folders).info.train_size == 5


def test_cinic10_has_a_validation_split(folders):
    for split in ("train", "valid", "test"):
        folders.fill(split, ["airplane", "cat"], count=4)
    info = open_named("cinic10", root=folders.root).info
    assert (info.train_size, info.val_size, info.test_size) == (8, 8, 8)


@pytest.mark.parametrize("splits", [[], ["train", "test"], ["airplane", "cat"]])
def test_cinic10_says_where_it_comes_from(folders, splits):
    for split in splits:
        folders.fill(split)
    with pytest.raises(UserError, match=r"valid.*github"):
        open_named("cinic10", root=folders.root)


def colour(mode, value, **options):
    return Image.new(mode, (8, 8), value, **options)


FORMATS = {
    "grey": ("L.png", colour("L", 100), (100, 100, 100)),
    "grey and alpha": ("LA.png", colour("LA", (100, 255)), (100, 100, 100)),
    "bilevel": ("1.png", colour("1", 1), (255, 255, 255)),
    "RGBA": ("RGBA.png", colour("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
    "transparent": ("clear.png", colour("RGBA", (10, 20, 30, 0)), (255, 255, 255)),
    "palette": ("P.png", colour("RGB", (255, 0, 0)).convert("P"), (255, 0, 0)),
    "CMYK": ("CMYK.jpg", colour("CMYK", (255, 0, 255, 0)), (0, 255, 0)),
    "BMP": ("RGB.bmp", colour("RGB", (1, 2, 3)), (1, 2, 3)),
    "TIFF": ("RGB.tif", colour("RGB", (1, 2, 3)), (1, 2, 3)),
    "WebP": ("RGB.webp", colour("RGB", (255, 255, 255)), (255, 255, 255)),
}


@pytest.mark.parametrize(("name", "image", "expected"), FORMATS.values(), ids=FORMATS)
def test_images_of_any_mode_become_rgb(folders, name, image, expected):
    folders.save(f"train/a/{name}", image)
    folders.write("train/b/one.png")
    folders.write("test/a/one.png")
    found = pixels(open_folder(folders), "train")[0].astype(int)
    assert abs(found - expected).max() <= (2 if name.endswith(("jpg", "webp")) else 0)


def test_images_are_turned_as_their_exif_data_say(folders):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: a quarter turn clockwise
    pixel = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    folders.save("train/a/turned.png", Image.fromarray(pixel), exif=exif)
    folders.write("train/b/one.png")
    folders.write("test/a/one.png")
    assert (pixels(open_folder(folders), "train")[0] == np.rot90(pixel, -1)).all()


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*dataset\.root"):
        open_named("imagefolder", root=tmp_path / "nowhere")


def test_no_folder_given():
    with pytest.raises(ConfigError) as error:
        open_named("imagefolder")
    assert error.value.where == ("root",)


def test_a_folder_without_class_folders(folders):
    folders.write("one.png")
    with pytest.raises(UserError, match="Each class needs"):
        open_folder(folders)


@PIPELINES
def test_mixed_sizes_need_an_image_size(folders, pipeline):
    folders.fill("train")
    folders.fill("test")
    folders.write("train/b/odd.png", width=9, height=7)
    with pytest.raises(UserError, match=r"odd\.png has 9x7.*8x8.*image_size"):
        open_folder(folders, pipeline=pipeline)
    data = open_folder(folders, pipeline=pipeline, image_size=6)
    assert pixels(data, "train").shape == (13, 6, 6, 3)


@PIPELINES
def test_a_size_that_shows_up_late_is_named_too(folders, pipeline):
    folders.fill("train", count=200)
    folders.fill("test")
    folders.write("train/b/001.png", width=9, height=9)
    with pytest.raises(UserError, match=r"train/b/001\.png has 9x9"):
        epoch_of(open_folder(folders, pipeline=pipeline))


def broken_files(folders):
    """One file of each kind of damage; their names."""
    whole = folders.root / "train/a/000.png"
    data = whole.read_bytes()
    bad_checksum = data[:45] + bytes([data[45] ^ 255]) + data[46:]
    jpeg = folders.save("train/a/whole.jpg", Image.open(whole))
    damaged = {
        "truncated.png": data[: len(data) // 2],
        "truncated.jpg": jpeg.read_bytes()[:-40],
        "checksum.png": bad_checksum,
        "empty.png": b"",
        "text.jpg": b"this is no image",
        "huge.png": data[:16] + struct.pack(">II", 2**17, 2**17) + data[24:],
    }
    for name, content in damaged.items():
        (folders.root / "train/a" / name).write_bytes(content)
    return sorted(damaged)


@PIPELINES
@pytest.mark.parametrize("number", range(6))
def test_a_broken_image_is_named(folders, pipeline, number):
    folders.fill("train")
    folders.fill("test")
    names = broken_files(folders)
    for name in names[:number] + names[number + 1 :]:
        (folders.root / "train/a" / name).unlink()
    with pytest.raises(UserError, match=rf"train/a/{names[number]}.*on_error=skip") as error:
        epoch_of(open_folder(folders, pipeline=pipeline, batch_size=14))
    assert "Traceback" not in str(error.value)


def test_a_link_to_nowhere_is_an_unreadable_image(folders):
    folders.fill("train")
    folders.fill("test")
    (folders.root / "train/a/link.png").symlink_to(folders.root / "nothing.png")
    with pytest.raises(UserError, match=r"train/a/link\.png"):
        open_folder(folders)
    assert open_folder(folders, on_error="skip").info.train_size == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_as_clear(folders, workers):
    folders.fill("train")
    folders.fill("test")
    (folders.root / "test/a/000.png").write_bytes(b"nothing")
    data = open_named("imagefolder", root=folders.root, pipeline="loader", workers=workers)
    with pytest.raises(UserError, match=r"^Cannot read .*test/a/000\.png.*on_error=skip\.$"):
        list(data.eval_batches("test"))


def test_broken_images_are_left_out_and_listed(folders, caplog):
    folders.fill("train")
    folders.fill("test")
    names = broken_files(folders)
    data = open_folder(folders, on_error="skip")
    assert data.info.train_size == 13
    assert len(data.skipped) == 6
    assert all(name in why for name, why in zip(names, data.skipped, strict=True))
    assert caplog.text.count("Skipped: ") == 6
    caplog.clear()
    assert open_folder(folders, on_error="skip").skipped == data.skipped, "also out of the cache"
    with pytest.raises(UserError, match="and 5 more"):
        open_folder(folders)


def test_broken_images_are_replaced_in_large_training_sets_and_listed(folders, caplog):
    folders.fill("train")
    folders.fill("test")
    names = broken_files(folders)
    settings = {"pipeline": "loader", "on_error": "skip", "batch_size": 19}
    data = open_folder(folders, **settings)
    x, y = epoch_of(data)
    assert x.shape[:2] == (1, 19)
    assert np.bincount(y[0]).sum() == 19
    assert sorted(why.split("train/a/")[1].split()[0] for why in data.skipped) == names
    assert caplog.text.count("Skipped") == 6
    epoch_of(data, 1)
    assert caplog.text.count("Skipped") == 6, "each is reported once"
    assert len(labels(data, "train")) == 13


@PIPELINES
def test_a_class_of_broken_images_only(folders, pipeline):
    folders.fill("train", count=2)
    folders.fill("test", count=2)
    for path in (folders.root / "train/b").iterdir():
        path.write_bytes(b"")
    settings = {"on_error": "skip", "pipeline": pipeline}
    if pipeline == "device":
        with pytest.raises(UserError, match="no sample of the class 'b'"):
            open_folder(folders, **settings)
    else:
        assert set(epoch_of(open_folder(folders, **settings))[1].flatten().tolist()) == {0}


@PIPELINES
def test_nothing_that_can_be_read(folders, pipeline):
    folders.fill("train", count=2)
    folders.fill("test", count=2)
    for path in (folders.root / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="Cannot read"):
        open_folder(folders, on_error="skip", pipeline=pipeline)
    with pytest.raises(UserError, match=r"(read|no samples)"):
        open_folder(folders, on_error="skip", pipeline=pipeline, image_size=8)


@pytest.fixture(autouse=True)
def _log_everything(caplog):
    caplog.set_level(logging.INFO)
