"""Hugging Face data sets: which columns are taken, how labels are matched, and what is refused."""

import sys

import numpy as np
import pytest
import torch
from data_helpers import epoch_of, load_named, open_named, pixels, png, shades
from PIL import Image

from kdzoo.data.fingerprint import data_fingerprint
from kdzoo.errors import UserError

hf = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, and no files but below the test's folder."""
    monkeypatch.setattr(hf.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache/library")


def table(first, count, names=("even", "odd"), **columns):
    """Samples whose colour tells their number, of the classes even and odd."""
    numbers = range(first, first + count)
    values = {
        "image": [{"bytes": png(number), "path": None} for number in numbers],
        "label": [names.index(("even", "odd")[number % 2]) for number in numbers],
        **columns,
    }
    features = {"image": hf.Image(), "label": hf.ClassLabel(names=list(names))}
    features |= {name: hf.Value("string") for name in columns}
    return hf.Dataset.from_dict(values, hf.Features(features))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "saved"
    parts = {"train": table(0, 30), "validation": table(100, 4)}
    hf.DatasetDict(parts).save_to_disk(folder)
    return folder


def load(root, **settings):
    return load_named("huggingface", root=root, **settings)


def refused(root, **settings):
    with pytest.raises(UserError) as error:
        load(root, **settings)
    return str(error.value)


def test_a_saved_folder_has_its_splits_labels_and_names(root):
    splits = load(root)
    assert shades(splits.train.images) == list(range(30))
    assert splits.train.labels.tolist() == [0, 1] * 15
    assert shades(splits.test.images) == [100, 101, 102, 103]
    assert splits.classes == ("even", "odd")
    assert splits.notes == (f"val of {root} is used as the test split",)
    assert splits.train.images.name(11) == f"the image in row 11 of {root} (train)"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "parquet"
    (folder / "data").mkdir(parents=True)
    table(0, 18).to_parquet(folder / "data/train-00000-of-00002.parquet")
    table(18, 12).to_parquet(folder / "data/train-00001-of-00002.parquet")
    table(100, 4).to_parquet(folder / "data/test-00000-of-00001.parquet")
    return folder


def test_parquet_files_are_the_same_data(root, files):
    splits = load(files)
    assert shades(splits.train.images) == list(range(30))
    assert splits.notes == ()
    assert data_fingerprint(splits) == data_fingerprint(load(root))
    table(40, 12).to_parquet(files / "data/train-00001-of-00002.parquet")
    assert shades(load(files).train.images) == [*range(18), *range(40, 52)]


def test_parquet_without_types_of_images(tmp_path):
    stored = pa.table(
        {"picture": [png(number) for number in range(20)], "class": ["odd", "even"] * 10}
    )
    path = tmp_path / "all.parquet"
    parquet.write_table(stored, path)
    splits = load(path)
    assert splits.classes == ("even", "odd")
    assert (len(splits.train), len(splits.test)) == (16, 4)
    assert sorted(shades(splits.train.images) + shades(splits.test.images)) == list(range(20))


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_batches_are_those_of_any_data_set(root, pipeline):
    settings = {"root": root, "pipeline": pipeline, "workers": 0, "augment": {"crop_padding": 0}}
    data = open_named("huggingface", **settings)
    x, y = epoch_of(data)
    shade = (x[:, :, 0, 4, 4] * data.info.std[0] + data.info.mean[0]).mul(255).round()
    assert (shade % 2 == y).all()
    assert pixels(data, "test")[:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def test_two_processes_share_what_one_has_and_go_on_in_the_middle(root):
    settings = {"root": root, "pipeline": "loader", "workers": 0, "augment": {"resized_crop": 0.5}}
    whole = list(open_named("huggingface", **settings).train_batches(1))[1:]
    shares = [
        list(
            open_named("huggingface", **settings, rank=rank, world_size=2).train_batches(1, start=1)
        )
        for rank in (0, 1)
    ]
    for (x, y, _), *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), x)
        assert torch.equal(torch.cat([part[1] for part in parts]), y)


def test_workers_read_the_same(root):
    alone, others = (
        open_named("huggingface", root=root, pipeline="loader", workers=workers)
        for workers in (0, 2)
    )
    assert torch.equal(epoch_of(alone)[0], epoch_of(others)[0])


def test_decoded_images_are_those_of_the_rows_that_are_taken(root):
    data = open_named("huggingface", root=root, val_fraction=0.2, augment={"crop_padding": 0})
    again = open_named("huggingface", root=root, val_fraction=0.2, augment={"crop_padding": 0})
    seen = [set(pixels(data, split)[:, 0, 0, 0].tolist()) for split in ("train", "test")]
    assert seen[0] < set(range(30))
    assert seen[1] == {100, 101, 102, 103}
    assert (pixels(data, "train") == pixels(again, "train")).all()


def test_labels_of_splits_are_matched_by_name(tmp_path):
    parts = {"train": table(0, 10), "test": table(100, 4, names=("odd", "even"))}
    hf.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    splits = load(tmp_path / "saved")
    assert splits.classes == ("even", "odd")
    assert splits.test.labels.tolist() == [0, 1, 0, 1]


def test_a_split_without_labels_is_left_out(tmp_path):
    nothing = table(0, 4).map(lambda row: {"label": -1})
    parts = {"train": table(0, 10), "validation": table(100, 4), "test": nothing}
    hf.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    splits = load(tmp_path / "saved")
    assert shades(splits.test.images) == [100, 101, 102, 103]
    assert any("have no labels" in note for note in splits.notes)


def test_columns_are_named_where_several_would_do(tmp_path):
    shared = table(0, 10)
    wide = shared.add_column("coarse", [0] * 5 + [1] * 5).cast_column(
        "coarse", hf.ClassLabel(names=["few", "many"])
    )
    wide.save_to_disk(tmp_path / "saved")
    assert "label, coarse" in refused(tmp_path / "saved")
    splits = load(tmp_path / "saved", label="coarse")
    assert splits.classes == ("few", "many")
    assert "no column fine" in refused(tmp_path / "saved", label="fine")
    assert "holds no images" in refused(tmp_path / "saved", label="coarse", image="label")


def test_an_unreadable_image_stops_or_is_skipped(tmp_path):
    broken = table(0, 12).to_dict()
    broken["image"] = [{"bytes": png(number), "path": None} for number in range(12)]
    broken["image"][3]["bytes"] = broken["image"][3]["bytes"][:40]
    broken["image"][5] = None
    features = table(0, 1).features
    parts = {"train": hf.Dataset.from_dict(broken, features), "test": table(100, 4)}
    hf.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"row 3 of .*train.*and 1 more"):
        open_named("huggingface", root=tmp_path / "saved")
    data = open_named("huggingface", root=tmp_path / "saved", on_error="skip")
    assert data.info.train_size == 10
    assert len(data.skipped) == 2


def test_images_that_are_paths_are_read_and_watched(tmp_path, folders):
    def save(number, shade):
        return folders.save(f"{number}.png", Image.new("RGB", (8, 8), (shade, 0, 9)))

    paths = [save(number, number) for number in range(10)]
    images = [{"bytes": None, "path": str(one)} for one in paths]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"image": pa.array(images, kind), "label": [0, 1] * 5}
    parquet.write_table(pa.table(columns), tmp_path / "all.parquet")
    settings = {"root": tmp_path / "all.parquet", "batch_size": 2}
    splits = load(settings["root"])
    sizes = [*splits.train.images.sizes, *splits.test.images.sizes]
    assert sorted(sizes) == sorted(one.stat().st_size for one in paths)
    changed, before = {0: 200, 1: 201, 2: 202, 3: 203}, set(range(10))
    for shown in (before, before - set(changed) | set(changed.values())):
        data = open_named("huggingface", **settings)
        seen = {int(image[0, 0, 0]) for split in ("train", "test") for image in pixels(data, split)}
        assert seen == shown
        for number, shade in changed.items():
            save(number, shade)


def test_the_hub_is_asked_for_what_is_named(root, monkeypatch):
    asked = []

    def load_dataset(*arguments, **settings):
        asked.append((arguments, settings))
        return hf.load_from_disk(root)

    monkeypatch.setattr(hf, "load_dataset", load_dataset)
    splits = load_named("huggingface", hub="some/one", revision="v2", subset="small")
    assert shades(splits.train.images) == list(range(30))
    assert asked == [(("some/one", "small"), {"revision": "v2", "keep_in_memory": False})]
    load(root)
    assert len(asked) == 1


REFUSED = {
    "nothing": (lambda root: None, "no .parquet files"),
    "no table": (lambda root: (root / "train.parquet").write_bytes(b"x"), "cannot be loaded"),
    "no image": (
        lambda root: hf.Dataset.from_dict({"a": [1], "label": [0]}).save_to_disk(root),
        "none by its type",
    ),
    "floats": (
        lambda root: table(0, 2).remove_columns("label").add_column("label", [0.5, 1.0])
        .save_to_disk(root),
        "neither a whole number nor a name",
    ),
    "some labels": (
        lambda root: table(0, 4).remove_columns("label").add_column("label", ["a", "b", None, "b"])
        .save_to_disk(root),
        "Row 2 of the all samples",
    ),
    "no train": (
        lambda root: hf.DatasetDict({"test": table(0, 4), "extra": table(0, 2)}).save_to_disk(root),
        "nothing to train on",
    ),
    "other classes": (
        lambda root: hf.DatasetDict(
            {"train": table(0, 4), "test": table(0, 2, names=("even", "odd", "none"))
             .map(lambda row: {"label": 2})}
        ).save_to_disk(root),
        "such as 'none'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(tmp_path, what):
    write, expected = REFUSED[what]
    (tmp_path / "given").mkdir()
    write(tmp_path / "given")
    assert expected in refused(tmp_path / "given")


def test_without_the_library_it_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'kdzoo[huggingface]'" in refused(root)


def test_equal_sizes_do_not_hide_another_order(tmp_path):
    random = np.random.default_rng(0)
    made = [Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(8)]
    for name, images in (("one", made), ("other", made[::-1])):
        values = {"image": images, "label": [0, 1] * 4}
        features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b"])})
        hf.Dataset.from_dict(values, features).save_to_disk(tmp_path / name)
    first, second = (
        pixels(open_named("huggingface", root=tmp_path / name, test_fraction=0.25), "train")
        for name in ("one", "other")
    )
    assert not np.array_equal(first, second)
