"""`kdzoo predict`, `load_predictor` and what is stored with a student: one transform everywhere."""

import csv
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_data_config
from torchvision.transforms.v2 import functional as F

import kdzoo
from kdzoo import UserError
from kdzoo.compose import compose
from kdzoo.export import describe_input, export_run
from kdzoo.files import read_json, write_json
from kdzoo.methods.teachers import teacher_content
from kdzoo.student import StudentInfo, load_student, read_student_info, save_student
from kdzoo.training.evaluate_student import evaluate_student
from kdzoo.training.run import train

COLOURS = {"ant": (200, 60, 40), "bee": (60, 190, 50), "cow": (50, 40, 180)}
SIDE = 24
SIZES = {"wide.png": (30, 61), "ribbon.png": (9, 700), "dot.png": (1, 2), "own.png": (SIDE, SIDE)}
KINDS = (
    *("turned.jpg", "cmyk.jpg", "alpha.png", "palette.png", "grey.png", "deep.png"),
    *("moving.gif", "moving.webp", "wide.png", "ribbon.png", "dot.png", "own.png"),
)
"""A photo of each is in every class; the last has the student's own size."""


def save(path, kind, random, colour):
    """A photo with a gradient, which shows how it is turned and cropped."""
    height, width = SIZES.get(kind, (40, 33))
    ramp = np.linspace(-90, 90, height)[:, None, None] + np.linspace(-40, 40, width)[None, :, None]
    noise = random.normal(0, 45, (height, width, 3))
    pixels = (np.array(colour) + ramp + noise).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    match kind:
        case "turned.jpg":
            exif = Image.Exif()
            exif[0x0112] = 6
            image.save(path, exif=exif, quality=95)
        case "alpha.png":
            image.putalpha(Image.fromarray(random.integers(0, 256, (height, width), np.uint8)))
            image.save(path)
        case "palette.png":
            image.quantize(32).save(path)
        case "grey.png":
            image.convert("L").save(path)
        case "deep.png":
            Image.fromarray(pixels[..., 0].astype(np.uint16) * 16).save(path)
        case "cmyk.jpg":
            image.convert("CMYK").save(path, quality=95)
        case "moving.gif" | "moving.webp":  # the first picture is the one that is meant
            image.save(path, save_all=True, append_images=[image.transpose(Image.ROTATE_180)])
        case _:
            image.save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 2), ("test", 1)):
        for name, colour in COLOURS.items():
            for number in range(count):
                for kind in KINDS:
                    path = root / split / name / f"{number}-{kind}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    save(path, kind, random, colour)
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    settings = [f"dataset.root={photos}", f"dataset.image_size={SIDE}", "dataset=imagefolder"]
    settings += [f"out={out}", f"dataset.cache={out / 'cache'}", "batch_size=14", "lr=0.02"]
    return train(
        compose(["method=independent", "backbone=timm/test_resnet", "epochs=3", *settings])
    ).path


@pytest.fixture(scope="module")
def predictor(run):
    return kdzoo.load_predictor(run)


@pytest.fixture(scope="module")
def tested(photos):
    return [str(path) for path in sorted((photos / "test").rglob("*.*"))]


def upright(path, pixel_range):
    """As anybody would open it: upright, on white, 16 bits scaled by the stored range."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):
        low, high = pixel_range
        share = (np.asarray(image, np.float64) - low) / (high - low)
        return Image.fromarray((share.clip(0, 1) * 255).round().astype(np.uint8)).convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def test_its_accuracy_is_that_of_eval_to_the_image(run, photos, tested, kdzoo):
    done = kdzoo("predict", str(run), str(photos / "test"), "--json", "--top", "9")
    assert done.code == 0
    said = json.loads(done.out)
    assert said["unreadable"] == []
    assert [one["image"] for one in said["images"]] == tested
    right, nll = 0, 0.0
    for one in said["images"]:
        truth = one["image"].split("/")[-2]
        probabilities = {each["class"]: each["probability"] for each in one["top"]}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        right += one["top"][0]["class"] == truth
        nll -= np.log(probabilities[truth])
    figures = evaluate_student(run)
    assert figures["images"] == len(tested) == 36
    assert figures["top1"] == pytest.approx(100 * right / len(tested), abs=1e-9)
    assert 20 < figures["top1"] < 100  # or an equal figure would say little
    assert figures["nll"] == pytest.approx(nll / len(tested), abs=1e-5)


@pytest.mark.slow
def test_onnxruntime_plain_timm_and_predict_agree(run, tested, predictor, tmp_path):
    import onnx
    import onnxruntime

    info = read_student_info(run)
    assert info.pixel_range is not None
    images = [upright(path, info.pixel_range) for path in tested]
    predicted = predictor(tested).probabilities

    network = timm.create_model("test_resnet", num_classes=3).eval()
    network.load_state_dict(load_file(run / "student.safetensors"), strict=True)
    stored = load_student(run).pretrained_cfg
    transform = create_transform(**resolve_data_config(pretrained_cfg=stored, model=network))
    x = torch.stack([transform(image) for image in images])
    with torch.no_grad():
        of_timm = network(x).softmax(1)
    # Pillow rounds a resized pixel otherwise than torchvision, by one at most
    torch.testing.assert_close(of_timm, predicted, atol=0.01, rtol=0)
    own = [at for at, path in enumerate(tested) if path.endswith("own.png")]
    torch.testing.assert_close(of_timm[own], predicted[own], atol=1e-5, rtol=0)

    def logits(path, given):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["logits"], {"images": given.numpy()})[0])

    plain = export_run(run, "onnx", tmp_path / "plain.onnx")
    torch.testing.assert_close(logits(plain, x).softmax(1), of_timm, atol=1e-5, rtol=0)
    taking_bytes = export_run(run, "onnx", tmp_path / "bytes.onnx", with_preprocessing=True)
    pixels = [torch.from_numpy(np.array(image)).movedim(2, 0) for image in images]
    resized = [F.center_crop(F.resize(one, [SIDE], antialias=True), [SIDE]) for one in pixels]
    given = torch.stack(resized).movedim(1, 3).contiguous()
    assert given.dtype == torch.uint8
    probabilities = logits(taking_bytes, given).softmax(1)
    torch.testing.assert_close(probabilities, predicted, atol=1e-5, rtol=0)

    said = {one.key: one.value for one in onnx.load(taking_bytes).metadata_props}
    assert json.loads(said["mean"]) == pytest.approx(info.mean)
    assert json.loads(said["classes"]) == list(COLOURS)
    assert (said["interpolation"], said["resize_mode"]) == ("bilinear", "shortest")
    assert (said["method"], said["kdzoo_version"]) == ("independent", kdzoo.__version__)


def test_a_student_is_compiled_whole(run):
    network = load_student(run)
    x = torch.randn(2, 3, SIDE, SIDE)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x))


def test_a_program_with_preprocessing_takes_bytes(run, predictor, tmp_path):
    path = export_run(run, "pt2", tmp_path / "student.pt2", with_preprocessing=True)
    extra = {"student.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(json.loads(extra["student.json"])["std"]) == pytest.approx(predictor.info.std)
    images = torch.randint(256, (5, SIDE, SIDE, 3), dtype=torch.uint8)
    torch.testing.assert_close(module(images), predictor.logits(images), atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="weights alone"):
        export_run(run, "safetensors", tmp_path / "folder", with_preprocessing=True)


def test_all_forms_of_an_image_are_one_image(photos, predictor):
    path = photos / "test" / "bee" / "0-wide.png"
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).movedim(2, 0)
    forms = [str(path), path, image, array, array.transpose(2, 0, 1), tensor, tensor / 255]
    forms += [tensor.movedim(0, 2), np.stack([array])]
    expected = predictor(path)
    assert expected.probabilities.shape == (1, 3)
    for form in forms:
        torch.testing.assert_close(predictor(form).probabilities, expected.probabilities)
    several = predictor([path, array, image])
    assert several.labels() == expected.labels() * 3
    assert predictor(np.stack([array, array])).probabilities.shape == (2, 3)
    assert predictor([]).probabilities.shape == (0, 3)
    for name in ("turned.jpg", "deep.png", "alpha.png", "palette.png"):
        path = photos / "test" / "ant" / f"0-{name}"
        assert predictor(Image.open(path)).top(3) == predictor(path).top(3)


def test_the_top_classes_are_in_order(photos, predictor):
    (first, second, third), *others = predictor(photos / "test" / "ant" / "0-own.png").top(9)
    assert not others
    assert first[1] > second[1] > third[1]
    assert {first[0], second[0], third[0]} == set(COLOURS)
    assert predictor.info.classes == tuple(COLOURS)


def test_what_cannot_be_read_is_named_and_counted(run, photos, predictor, tmp_path, kdzoo):
    folder = tmp_path / "mixed" / "deeper"
    folder.mkdir(parents=True)
    good = folder / "b.png"
    good.write_bytes((photos / "test" / "ant" / "0-own.png").read_bytes())
    (folder / "a.jpg").write_bytes((photos / "test/ant/0-turned.jpg").read_bytes()[:300])
    (tmp_path / "mixed" / "c.png").write_text("no image")
    (tmp_path / "mixed" / "notes.txt").write_text("no image")
    (tmp_path / "mixed" / ".hidden.png").write_text("no image")
    done = kdzoo("predict", str(run), str(tmp_path / "mixed"), "--csv", "--top", "2")
    assert done.code == 1
    (row,) = csv.DictReader(done.out.splitlines())
    assert row["image"] == str(good)
    assert row["class_1"] == predictor(good).labels()[0]
    assert float(row["probability_1"]) > float(row["probability_2"])
    assert "a.jpg" in done.err
    assert "c.png" in done.err
    assert "2 of 3 images could not be read." in done.err
    assert "notes.txt" in done.err
    assert ".hidden" not in done.err
    with pytest.raises(UserError, match=r"c\.png"):
        predictor([good, tmp_path / "mixed" / "c.png"])
    table = kdzoo("predict", str(run), str(good), str(good))
    assert table.code == 0
    assert table.out.count(predictor(good).labels()[0]) == 2


def test_a_line_is_a_line_whatever_a_file_is_called(run, photos, tmp_path, kdzoo):
    folder = tmp_path / "line\nbreak"
    folder.mkdir()
    good = (photos / "test" / "ant" / "0-own.png").read_bytes()
    (folder / "a\nfine\x1b[2J.png").write_bytes(good)
    (folder / "b\nbroken.png").write_bytes(good[:99])
    (folder / "c\nnotes.txt").write_text("no image")
    done = kdzoo("predict", str(run), str(folder))
    assert "\x1b" not in done.out + done.err
    assert len(done.err.splitlines()) == 3
    assert any(r"c\nnotes.txt" in line for line in done.err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.png"], "There is no nowhere.png"),
        (["."], "There are no images in"),
        ([".", "--csv", "--json"], "Leave one out"),
        (["image.png", "--device", "tpu"], "device: "),
    ],
)
def test_mistakes_are_said(run, kdzoo, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    if "image.png" in arguments:
        Image.new("RGB", (8, 8)).save("image.png")
    done = kdzoo("predict", str(run), *arguments)
    assert done.code == 2
    assert words in " ".join(done.err.split())


def test_a_student_says_what_it_takes(run, tmp_path):
    said = read_json(run / "student.json")
    assert said["input_size"] == [3, SIDE, SIDE]
    assert (said["resize_mode"], said["interpolation"]) == ("shortest", "bilinear")
    assert (said["crop_mode"], said["method"]) == ("center", "independent")
    assert said["kdzoo_version"] == kdzoo.__version__
    exported = export_run(run, "safetensors", tmp_path / "exported")
    with safe_open(run / "student.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    with safe_open(exported / "student.safetensors", "pt") as file:
        header = file.metadata()
    assert json.loads(header["classes"]) == list(COLOURS)
    assert json.loads(header["mean"]) == said["mean"]
    assert header["resize_mode"] == "shortest"
    assert read_json(exported / "student.json") == said
    assert kdzoo.load_predictor(exported / "student.safetensors").info.method == "independent"


def test_timm_is_told_what_the_student_takes(run):
    cfg = resolve_data_config(model=load_student(run))
    info = read_student_info(run)
    assert cfg["mean"] == info.mean != timm.data.IMAGENET_DEFAULT_MEAN
    assert (cfg["std"], cfg["input_size"]) == (info.std, info.input_size)
    assert (cfg["interpolation"], cfg["crop_pct"]) == ("bilinear", 1.0)
    described = load_student(run).pretrained_cfg
    assert described["label_names"] == tuple(COLOURS)
    assert described["architecture"] == "test_resnet"
    assert "hf_hub_id" not in described  # those weights are others


def test_a_student_of_an_older_version_is_the_same(run, tmp_path):
    """Its checksum holds, and a teacher's part in the identity of a run is what it was."""
    content = teacher_content(str(run))
    said = read_json(run / "student.json")
    later = ("resize_mode", "interpolation", "crop_mode", "method", "kdzoo_version")
    for name in ("student.safetensors", "config.yaml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    old = {key: value for key, value in said.items() if key not in later}
    write_json(tmp_path / "student.json", old)
    info = read_student_info(tmp_path)
    assert (info.resize_mode, info.method) == ("shortest", None)
    assert teacher_content(str(tmp_path)) == content
    assert load_student(tmp_path).pretrained_cfg["mean"] == info.mean
    checksum = save_student(tmp_path / "again", load_student(run), info)
    assert checksum == said["sha256"]
    write_json(tmp_path / "student.json", {**said, "interpolation": "bicubic"})
    with pytest.raises(UserError, match="interpolation"):
        load_student(tmp_path)


def described(**changes):
    given = dict(backbone="resnet8", kwargs={}, num_classes=2, input_size=(3, 16, 24))
    given |= dict(mean=(0.5,) * 3, std=(0.25,) * 3, classes=("a", "b"))
    return StudentInfo(**{**given, **changes})


def test_images_that_are_not_square_are_taken_as_they_are_or_named(tmp_path):
    info = described()
    assert info.resize_mode == "none"
    save_student(tmp_path, kdzoo.create_backbone("resnet8", 2, info.input_size), info)
    predictor = kdzoo.load_predictor(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    x = torch.from_numpy(pixels).movedim(2, 0)[None] / 255
    with torch.no_grad():
        expected = load_student(tmp_path)((x - 0.5) / 0.25).softmax(1)
    torch.testing.assert_close(predictor(pixels).probabilities, expected, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"image 1: .* 24x16 pixels"):
        predictor([pixels, pixels[:, :16]])
    assert load_student(tmp_path).pretrained_cfg["mean"] == (0.5, 0.5, 0.5)  # also of kdzoo's own
    assert "24x16" in describe_input(info)[1]
    with pytest.raises(ValueError, match="square"):
        described(resize_mode="shortest")


def test_values_of_unknown_range_are_not_guessed(tmp_path):
    info = described(input_size=(3, 16, 16))
    save_student(tmp_path, kdzoo.create_backbone("resnet8", 2, info.input_size), info)
    Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png .*more than 8 bits"):
        kdzoo.load_predictor(tmp_path)(tmp_path / "deep.png")


def test_the_input_is_described():
    text = "\n".join(describe_input(described(input_size=(3, 16, 16))))
    assert "float32 [B, 3, 16, 16], RGB pixels in [0, 1], minus mean (0.5, 0.5, 0.5)" in text
    assert "resize the shorter side to 16 (bilinear, antialiased), then crop the center" in text
    assert "Output: logits [B, 2] of a, b." in text
    assert "8 bits" not in text
    assert "uint8 [B, 16, 24, 3]" in describe_input(described(), with_preprocessing=True)[0]
    deep = describe_input(described(pixel_range=(0, 4095)))
    assert "Images of more than 8 bits: 0 to 4095 become 0 to 255." in deep


def test_the_command_says_what_the_file_takes(run, tmp_path, kdzoo):
    to = tmp_path / "student.pt2"
    done = kdzoo("export", str(run), "--format", "pt2", "--with-preprocessing", "--to", str(to))
    assert (done.code, to.is_file()) == (0, True)
    assert f"uint8 [B, {SIDE}, {SIDE}, 3], RGB" in done.out
    assert "of ant, bee, cow." in done.out
    refused = kdzoo("export", str(run), "--with-preprocessing")
    assert refused.code == 2
    assert "--format onnx" in refused.err


def test_a_file_that_takes_bytes_has_a_name_of_its_own(run):
    plain = export_run(run, "pt2", None)
    before = plain.read_bytes()
    taking_bytes = export_run(run, "pt2", None, with_preprocessing=True)
    assert (plain.name, taking_bytes.name) == ("student.pt2", "student-uint8.pt2")
    assert plain.read_bytes() == before


def test_folders_are_gone_through_once_and_in_order(run, photos, tmp_path, kdzoo):
    content = (photos / "test" / "bee" / "0-own.png").read_bytes()
    for name in ("b/2.png", "b/10.png", "a.png", "c/d/e.png"):
        path = tmp_path / "many" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "many" / "c" / "up").symlink_to(tmp_path / "many")
    done = kdzoo("predict", str(run), str(tmp_path / "many"), str(path), "--csv")
    assert done.code == 0
    names = [row["image"] for row in csv.DictReader(done.out.splitlines())]
    inside = [f"{tmp_path / 'many'}/{name}" for name in ("a.png", "b/10.png", "b/2.png")]
    assert names == [*inside, str(path), str(path)]
