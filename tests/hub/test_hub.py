"""Students as folders of timm's, with a model card, and on the hub."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from kdzoo import create_backbone, load_student
from kdzoo.data.resize import ImageSize
from kdzoo.errors import UserError
from kdzoo.files import write_json
from kdzoo.hub import push
from kdzoo.hub.folder import FILES, write_timm_folder
from kdzoo.student import StudentInfo, save_student

CLASSES = ("a cat", "dog", 'the "third"')
OURS = {"backbone": "resnet8", "kwargs": {}, "input_size": (3, 16, 16)}
VIT = {
    "backbone": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "kwargs": {"img_size": 32, "depth": 1, "patch_size": 8, "pretrained": True},
    "input_size": (3, 32, 32),
}
GREY = {"backbone": "timm/resnet10t", "kwargs": {"drop_rate": 0.1}, "input_size": (1, 32, 32)}
OURS_BY_TIMM = {"backbone": "timm/kdzoo_wrn16_2", "kwargs": {"drop_rate": 0.1}}


@pytest.fixture
def student(tmp_path):
    """Writes a student and gives its folder."""

    def make(**settings):
        settings = {**OURS, **settings}
        channels = settings["input_size"][0]
        normalisation = {"mean": (0.25,) * channels, "std": (0.5,) * channels}
        info = StudentInfo(**settings, **normalisation, num_classes=3, classes=CLASSES)
        kwargs = {key: value for key, value in info.kwargs.items() if key != "pretrained"}
        torch.manual_seed(1)
        network = create_backbone(info.backbone, 3, info.input_size, **kwargs)
        save_student(tmp_path / "student", network, info)
        return tmp_path / "student"

    return make


@pytest.mark.parametrize("settings", [OURS, VIT, GREY, OURS_BY_TIMM])
def test_timm_gives_the_students_logits(settings, student, tmp_path):
    run = student(**settings)
    folder = write_timm_folder(run, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    size = {**OURS, **settings}["input_size"]
    images = torch.randn(2, *size)
    assert torch.equal(network(images), load_student(run)(images))
    described = network.pretrained_cfg
    assert tuple(described["label_names"]) == CLASSES
    assert tuple(described["input_size"]) == size
    assert tuple(described["mean"]) == (0.25,) * size[0]
    assert "hf_hub_id" not in described
    assert "license" not in described


def test_timms_preprocessing_is_ours(student, tmp_path):
    folder = write_timm_folder(student(), tmp_path / "out")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert network.default_cfg["input_size"] == (3, 16, 16)  # a tuple, which timm's scripts want
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    given = transform(Image.fromarray(pixels))
    ours = torch.from_numpy(ImageSize(16, 16, resize=True).fit(pixels, "image"))
    expected = (ours.permute(2, 0, 1) / 255 - 0.25) / 0.5
    assert (given - expected).abs().max() < 2.1 / 255 / 0.5  # Pillow rounds twice


def test_the_weights_can_start_a_network_of_other_classes(student, tmp_path):
    folder = write_timm_folder(student(), tmp_path / "out")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=7, in_chans=1)
    weights = load_file(folder / "model.safetensors")
    assert torch.equal(network.layer3[0].conv1.weight, weights["layer3.0.conv1.weight"])
    torch.testing.assert_close(network.conv1.weight, weights["conv1.weight"].sum(1, keepdim=True))
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 7)


def test_a_network_that_timm_does_not_know_is_refused(student, tmp_path):
    run = student()
    description = json.loads((run / "student.json").read_text())
    description["backbone"] = "mynet:MyNet"
    (run / "student.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="'mynet:MyNet': it is neither timm's nor kdzoo's own"):
        write_timm_folder(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_files_of_something_else_are_not_written_over(name, student, tmp_path, kdzoo):
    there = tmp_path / "project"
    there.mkdir()
    (there / name).write_text('{"mine": 1}')
    done = kdzoo("export", str(student()), "--format", "timm", "--to", str(there))
    assert done.code == 2
    assert f"{there} has {name} of something else" in done.err.replace("\n", "")
    assert {one.name: one.read_text() for one in there.iterdir()} == {name: '{"mine": 1}'}


def test_nor_is_another_model_of_timms(student, tmp_path, kdzoo):
    config = {"architecture": "resnet50", "pretrained_cfg": {"url": "x"}}
    write_json(tmp_path / "theirs" / "config.json", config)
    (tmp_path / "theirs" / "README.md").write_text("A ResNet-50.")
    done = kdzoo("export", str(student()), "--format", "timm", "--to", str(tmp_path / "theirs"))
    assert done.code == 2
    assert json.loads((tmp_path / "theirs" / "config.json").read_text()) == config


def test_an_earlier_export_is(student, tmp_path):
    there = tmp_path / "timm"
    write_timm_folder(student(), there)
    (there / "README.md").write_text("old, of kdzoo")
    write_timm_folder(student(), there)
    assert "old" not in (there / "README.md").read_text().split()


def test_other_logits_are_noticed_before_anything_is_written(student, tmp_path, monkeypatch):
    run = student()
    create = timm.create_model

    def damaged(name, **kwargs):
        network = create(name, **kwargs)
        nn.init.ones_(network.fc.bias)
        return network

    monkeypatch.setattr(timm, "create_model", damaged)
    with pytest.raises(UserError, match="nothing was written"):
        write_timm_folder(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_of_a_run_says_what_it_is(kdzoo, tmp_path):
    trained = kdzoo("run", "backbone=resnet8", "epochs=1", f"out={tmp_path}", "training.threads=1")
    assert trained.code == 0, trained.err
    (result_file,) = tmp_path.rglob("result.json")
    run = result_file.parent
    exported = kdzoo("export", str(run), "--format", "timm")
    assert exported.code == 0, exported.err
    assert str(run / "timm") in exported.out
    card = (run / "timm" / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "timm"
    assert "license" not in yaml.safe_load(front)
    result = json.loads(result_file.read_text())
    last = result["last"]
    for wanted in (
        f"resnet8, trained with {result['method']} on digits",
        f"| student (these weights) | {last['student']['top1']:.2f} |",
        f"| ensemble of the peers | {last['ensemble']['top1']:.2f} |",
        f"{last['diversity']['disagreement']:.2f} %",
        "1,438 for training, 359 for test",
        "import kdzoo.timm",
        "## Licence",
    ):
        assert wanted in text
    assert str(tmp_path) not in card
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(code.replace("PATH/OF/THIS/FOLDER", str(run / "timm")), names)
    assert list(names["labels"]) == [str(digit) for digit in range(10)]


class Hub:
    """Stands for the hub's client, and notes what is asked of it."""

    def __init__(self, has_card=False, error=None):
        self.has_card, self.error, self.sent = has_card, error, None

    def __call__(self, **client):
        assert client["library_name"] == "kdzoo"
        return self

    def create_repo(self, repo, exist_ok):
        assert exist_ok
        if self.error:
            raise self.error
        return f"https://hub/{repo}"

    def file_exists(self, repo, name):
        return self.has_card

    def upload_folder(self, **sent):
        self.sent = SimpleNamespace(**sent)


@pytest.fixture
def hub(monkeypatch):
    """Puts a stand-in in the place of the hub."""

    def put(**settings):
        client = Hub(**settings)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(push, "is_reachable", lambda url: True)
        monkeypatch.setattr("huggingface_hub.HfApi", client)
        return client

    return put


def test_a_folder_is_sent_when_that_is_asked_for(kdzoo, hub, student, tmp_path):
    client = hub()
    run, out = str(student()), tmp_path / "out"
    assert kdzoo("export", run, "--format", "timm", "--to", str(out)).code == 0
    assert client.sent is None
    (out / "notes.txt").write_text("mine")
    said = kdzoo("export", run, "--format", "timm", "--to", str(out), "--push", "me/net")
    assert said.code == 0, said.err
    assert "https://hub/me/net" in said.out
    assert (client.sent.repo_id, client.sent.folder_path) == ("me/net", out)
    assert sorted(client.sent.allow_patterns) == sorted(FILES)
    assert "hf-hub:me/net" in (out / "README.md").read_text()


def test_a_card_that_is_on_the_hub_stays(hub, student, tmp_path):
    client = hub(has_card=True)
    push.push_folder(write_timm_folder(student(), tmp_path / "out"), "me/net")
    assert sorted(client.sent.allow_patterns) == ["config.json", "model.safetensors"]


def test_a_refusal_of_the_hub_is_one_message(kdzoo, hub, student, tmp_path):
    hub(error=RuntimeError("401: log in.\nand a long page"))
    out = tmp_path / "out"
    arguments = ("--format", "timm", "--to", str(out), "--push", "me/net")
    said = kdzoo("export", str(student()), *arguments)
    assert said.code == 2
    assert "was not sent to me/net" in " ".join(said.err.split())
    assert "401: log in. Give the command again" in " ".join(said.err.split())
    assert (out / "config.json").exists()


def test_without_a_connection_nothing_is_tried(hub, student, tmp_path, monkeypatch):
    client = hub()
    monkeypatch.setattr(push, "is_reachable", lambda url: False)
    with pytest.raises(UserError, match=r"is written, and was not sent.*cannot be reached"):
        push.push_folder(tmp_path, "me/net")
    assert client.sent is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "onnx", "--push", "me/net"), "--push sends what --format timm writes"),
        (("--format", "timm", "--push", "me/net/more"), "--push: Repo id"),
        (("--format", "timm", "--push", "net"), "Give USER/NAME"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_any_work(arguments, message, kdzoo, student):
    run = student()
    said = kdzoo("export", str(run), *arguments)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert sorted(path.name for path in run.iterdir()) == ["student.json", "student.safetensors"]
