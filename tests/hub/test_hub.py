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
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    given = transform(Image.fromarray(pixels))
    ours = torch.from_numpy(ImageSize(16, 16, resize=True).fit(pixels, "image"))
    expected = (ours.permute(2, 0, 1) / 255 - 0.25) / 0.5
    assert (given - expected).abs().max() < 2.1 / 255 / 0.5  # Pillow rounds twice


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
