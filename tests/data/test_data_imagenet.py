"""ImageNet and Tiny ImageNet as they come, by name and as image folders."""

import numpy as np
import pytest
from data_helpers import contents, load_named
from scipy.io import savemat

from kdzoo.datasets.imagenet import ImageNet, Published, TinyImageNet
from kdzoo.errors import UserError

WNIDS = ("n01443537", "n01629819", "n02094433")
EXPECTED = {wnid: [f"ILSVRC2012_val_{i:08}.JPEG" for i in (k + 1, k + 4)] for k, wnid in
            enumerate(WNIDS)}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Both data sets with three classes, four training images and two others in each."""
    samples, per_class = {"train": 12, "test": 6}, {"train": (4, 4), "test": (2, 2)}
    for dataset in (ImageNet, TinyImageNet):
        known = Published(dataset.published.title, 3, samples, per_class)
        monkeypatch.setattr(dataset, "published", known)


def ilsvrc(folders, below="", classes=True):
    """ILSVRC's folders: a class folder each to train on, and one for all validation images."""
    for wnid in WNIDS:
        for number in range(4):
            folders.write(f"{below}train/{wnid}/{wnid}_{number}.JPEG")
    for wnid, images in EXPECTED.items():
        for name in images:
            folders.write(f"{below}val/{wnid + '/' if classes else ''}{name}")


def devkit(folders, below="ILSVRC2012_devkit_t12/data/"):
    kit = folders.root / below
    kit.mkdir(parents=True)
    dtype = [("ILSVRC2012_ID", int), ("WNID", object), ("words", object)]
    # the numbers of the development kit are not in the order of the WordNet IDs
    table = [(1, WNIDS[2], "c"), (2, WNIDS[0], "a"), (3, WNIDS[1], "b")]
    savemat(kit / "meta.mat", {"synsets": np.array(table, dtype=dtype)})
    lines = "\n".join("231231")
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(f"{lines}\n")


def kaggle(folders):
    rows = [f"{name[:-5]},{wnid} 85 1 499 272 {wnid} 1 1 2 2"
            for wnid, images in EXPECTED.items() for name in images]  # fmt: skip
    (folders.root / "LOC_val_solution.csv").write_text(
        "\n".join(["ImageId,PredictionString", *rows])
    )


def tiny(folders):
    for wnid in WNIDS:
        for number in range(4):
            folders.write(f"train/{wnid}/images/{wnid}_{number}.JPEG")
        (folders.root / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t1\t1\n")
    lines = []
    for wnid, images in EXPECTED.items():
        for name in images:
            folders.write(f"val/images/{name}")
            lines.append(f"{name}\t{wnid}\t0\t32\t44\t62")
    (folders.root / "val/val_annotations.txt").write_text("\n".join(reversed(lines)))
    folders.write("test/images/test_0.JPEG")
    (folders.root / "wnids.txt").write_text("\n".join(reversed(WNIDS)))


def names(split):
    return {
        wnid: sorted(path.rpartition("/")[2] for path in paths) for wnid, paths in split.items()
    }


@pytest.mark.parametrize("form", ["class folders", "devkit", "beside", "kaggle"])
@pytest.mark.parametrize("name", ["imagenet", "imagefolder"])
def test_ilsvrc(folders, small, name, form):
    ilsvrc(folders, "ILSVRC/Data/CLS-LOC/" if form == "kaggle" else "", form == "class folders")
    if form == "devkit":
        devkit(folders)
    elif form == "beside":
        devkit(folders, "data")
    elif form == "kaggle":
        kaggle(folders)
    root = folders.root
    if form == "kaggle" and name == "imagefolder":
        root = root / "ILSVRC/Data/CLS-LOC"
    splits = load_named(name, root=root)
    assert tuple(splits.classes) == WNIDS
    assert splits.val is None
    found = contents(splits, folders.root)
    assert names(found["test"]) == EXPECTED
    assert {wnid: len(paths) for wnid, paths in found["train"].items()} == dict.fromkeys(WNIDS, 4)
    if name == "imagenet":
        assert splits.notes[-1].startswith(f"ImageNet in {folders.root}: 3 classes and 12 + 6")
        assert splits.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagefolder"])
def test_tiny_imagenet(folders, small, name):
    tiny(folders)
    splits = load_named(name, root=folders.root)
    assert tuple(splits.classes) == WNIDS
    found = contents(splits, folders.root)
    assert names(found["test"]) == EXPECTED
    assert len(splits.train) == 12
    said = "\n".join(splits.notes)
    assert f"are those in {folders.root}/val/val_annotations.txt" in said
    assert "3 of no image format (n01443537/n01443537_boxes.txt, " in said
    if name == "imagefolder":
        assert f"{folders.root}/test has no class folders" in said


def test_a_list_and_class_folders_are_the_same_data(folders, small, tmp_path):
    ilsvrc(folders)
    flat = type(folders)(tmp_path / "flat")
    ilsvrc(flat, classes=False)
    devkit(flat)
    one, other = load_named("imagenet", root=folders.root), load_named("imagenet", root=flat.root)
    assert one.test.labels.tolist() == other.test.labels.tolist()
    assert [one.test.images[k].tolist() for k in range(6)] == [
        other.test.images[k].tolist() for k in range(6)
    ]


@pytest.mark.parametrize("name", ["imagenet", "imagefolder"])
def test_validation_images_without_labels(folders, small, name):
    ilsvrc(folders, classes=False)
    with pytest.raises(UserError, match=r"to test on: .*val has no class folders.*LOC_val_"):
        load_named(name, root=folders.root)


DAMAGES = {
    "a label too few": (lambda lines: lines[1:], "1 of the 6 images in .* have no label in"),
    "an image too few": (lambda lines: [*lines, "x.JPEG\tn01443537\t"], "1 of the 7 images that"),
    "two classes": (
        lambda lines: [*lines, lines[0].replace(lines[0].split("\t")[1], "n09")],
        "gives .* two classes",
    ),
    "no class": (lambda lines: [lines[0].split("\t")[0], *lines[1:]], "Line 1 of"),
    "another class": (
        lambda lines: [line.replace(WNIDS[1], "n00000001") for line in lines],
        "there is no 'n00000001' to train on",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_list_that_does_not_fit(folders, damage, message):
    tiny(folders)
    path = folders.root / "val/val_annotations.txt"
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(UserError, match=message):
        load_named("imagefolder", root=folders.root)


def test_a_ground_truth_that_does_not_fit(folders, small):
    ilsvrc(folders, classes=False)
    devkit(folders)
    truth = folders.root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("2\n3\n9\n")
    with pytest.raises(UserError, match=r"Line 3 of .* is no class of .*meta.mat"):
        load_named("imagenet", root=folders.root)
    (truth.parent / "meta.mat").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"meta.mat cannot be read as a table of classes"):
        load_named("imagenet", root=folders.root)


@pytest.mark.parametrize("name", ["imagenet", "tiny_imagenet"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train/n01443537/n01443537_0.JPEG").unlink(), "has 4 train images, "
         "but n01443537 3"),
        (lambda root: (root / "val/n02094433/ILSVRC2012_val_00000003.JPEG").unlink(), "has 2 test "
         "images, but n02094433 1"),
        (lambda root: [(root / split / "n02094433").rename(root / split / "dog")
                       for split in ("train", "val")], "the class dog is no WordNet ID"),
    ],
)  # fmt: skip
def test_what_is_not_the_published_data(folders, small, name, change, message):
    ilsvrc(folders)
    change(folders.root)
    with pytest.raises(UserError, match=message):
        load_named(name, root=folders.root)


def test_the_numbers_of_the_published_data():
    assert ImageNet.published.samples == {"train": 1_281_167, "test": 50_000}
    assert TinyImageNet.published.samples == {"train": 200 * 500, "test": 200 * 50}
