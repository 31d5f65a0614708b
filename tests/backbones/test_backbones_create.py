import socket
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from kdzoo.backbones import timm_models
from kdzoo.backbones.create import (
    BackboneConfig,
    backbone_from_module,
    create_backbone,
    make_backbone,
)
from kdzoo.backbones.timm_models import is_timm_model
from kdzoo.errors import UserError
from kdzoo.registry import backbones


class Tiny(nn.Module):
    def __init__(self, num_classes=4, in_chans=3, width=8):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        self.frozen = nn.Parameter(torch.arange(4.0), requires_grad=False)
        self.fc = nn.Linear(width, num_classes)
        nn.init.normal_(self.conv.weight, std=5.0)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).mean((2, 3))) * self.scale


def test_a_name_is_a_network_of_ours():
    network = create_backbone("resnet8", num_classes=7, input_size=(1, 8, 8))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert network.fc.out_features == 7


def test_keyword_arguments_reach_the_network():
    network = create_backbone("wrn16_2", 10, drop_rate=0.25)
    assert network.layer1[0].dropout.p == 0.25
    network = create_backbone("timm/test_vit", 10, (3, 32, 32), img_size=32)
    assert network.patch_embed.img_size == (32, 32)


def test_timm_models_and_their_tags():
    assert create_backbone("timm/resnet10t", 3, (1, 32, 32)).conv1[0].in_channels == 1
    assert create_backbone("timm/resnet10t.c3_in1k", 3).num_classes == 3


def test_a_function_of_any_module(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, width=3):\n"
        "    layers = [nn.Linear(12, width), nn.Linear(width, num_classes)]\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    network = create_backbone("my_networks:net", 5, (3, 2, 2), width=6)
    assert network(torch.zeros(1, 3, 2, 2)).shape == (1, 5)
    with pytest.raises(UserError, match=r"'nte'.*Did you mean net"):
        create_backbone("my_networks:nte", 5)
    (tmp_path / "my_broken.py").write_text("1 / 0")
    with pytest.raises(UserError, match="my_broken fails: ZeroDivisionError"):
        create_backbone("my_broken:net", 5)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("resnt20", {}, "Did you mean resnet20"),
        ("timm/convnext_ato", {}, "Did you mean timm/convnext_atto"),
        ("timm/", {}, "timm has no model ''"),
        ("convnext_atto", {}, "timm/convnext_atto"),
        ("no_such_package:net", {}, "importing no_such_package fails"),
        (":net", {}, "fails"),
        ("torchvision.models:resnet81", {}, "resnet18"),
        ("os:sep", {}, "no function or class 'sep'"),
        ("os:getcwd", {}, "builds a str"),
        ("wrn16_2", {"drop_rat": 0.1}, "Did you mean drop_rate"),
        ("timm/resnet10t", {"drop_paht": 0.1}, "unexpected keyword argument 'drop_paht'"),
        ("timm/kdzoo_resnet8", {"pretrained": True}, "no pretrained weights"),
        ("timm/resnet10t", {"global_pool": "nope"}, "cannot be built with global_pool='nope' "),
        ("timm/resnet10t", {"act_layer": "nope"}, r"act_layer='nope' \(KeyError: 'nope'\)"),
        ("timm/test_vit", {"embed_dim": 7}, "cannot be built with embed_dim=7 "),
        ("torchvision.models:resnet18", {"norm_layer": 1}, "cannot be built with norm_layer=1 "),
        ("wrn16_2", {"drop_rate": "half"}, "cannot be built with drop_rate='half' "),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(name, kwargs, message):
    with pytest.raises(UserError, match=message):
        create_backbone(name, 10, **kwargs)


def test_what_the_data_decide_cannot_be_given():
    config = BackboneConfig(name="resnet8", kwargs={"num_classes": 3})
    with pytest.raises(UserError, match="follows from the data set"):
        make_backbone(config, 10, (3, 32, 32))


def test_a_wrong_name_is_refused_by_the_config():
    with pytest.raises(UserError, match="resnet8"):
        BackboneConfig(name="resnet88")


def test_a_missing_download_is_explained(monkeypatch):
    import timm

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(timm_models, "is_reachable", lambda url: True)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded.*pretrained"):
        create_backbone("timm/resnet10t", 10, pretrained=True)


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """No names can be looked up, and the cache is empty; gives those that were asked for."""
    from huggingface_hub import constants

    asked = []

    def unknown(host, *rest, **settings):
        asked.append(host)
        raise socket.gaierror("no network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    timm_models.is_reachable.cache_clear()
    yield asked
    timm_models.is_reachable.cache_clear()


def test_a_hub_that_does_not_answer_is_asked_once(no_hub):
    from huggingface_hub import constants

    with pytest.raises(UserError, match=r"not on this machine and cannot be downloaded"):
        timm_models.pretrained_timm_model("resnet10t")
    with pytest.raises(UserError, match=r"not on this machine"):
        create_backbone("timm/resnet10t", 10, pretrained=True)
    assert len(no_hub) == 1
    assert not constants.HF_HUB_OFFLINE


def test_without_a_hub_the_weights_in_the_cache_are_taken(no_hub, tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(1)
    trained = timm.create_model("resnet10t", num_classes=1000)
    repository = timm.models.get_pretrained_cfg("resnet10t").hf_hub_id
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    save_file(trained.state_dict(), folder / "snapshots" / commit / "model.safetensors")

    loaded = timm_models.pretrained_timm_model("resnet10t")
    assert torch.equal(loaded.conv1[0].weight, trained.conv1[0].weight)
    assert torch.equal(loaded.fc.weight, trained.fc.weight)


def test_building_depends_on_the_seed_alone():
    backbone = make_backbone(BackboneConfig(name="resnet8"), 10, (3, 8, 8))
    first, again, other = backbone.build(1), backbone.build(1), backbone.build(2)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_a_module_has_weights_and_training_starts_from_them():
    module = Tiny()
    module(torch.randn(2, 3, 8, 8))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    backbone = backbone_from_module(module, 4, (3, 8, 8))
    with torch.no_grad():
        module.conv.weight.zero_()  # what becomes of the module afterwards is its owner's affair
    first, other = backbone.build(1), backbone.build(2)
    for network in (first, other):
        assert network is not module
        assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())


def test_tied_weights_stay_tied():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    built = backbone_from_module(network, 3, (3, 1, 1)).build(0)
    assert built[1].weight is built[0].weight


def test_a_function_gets_what_it_takes():
    built = backbone_from_module(Tiny, 6, (1, 8, 8)).build(0)
    assert built(torch.zeros(2, 1, 8, 8)).shape == (2, 6)
    assert backbone_from_module(lambda: Tiny(3), 3, (3, 8, 8)).build(0).fc.out_features == 3
    assert backbone_from_module(partial(Tiny, width=2), 6, (1, 8, 8)).build(0).fc.in_features == 2


def test_timm_has_our_networks():
    import timm

    import kdzoo.timm  # noqa: F401

    network = timm.create_model("kdzoo_wrn16_2", num_classes=5, in_chans=1, drop_rate=0.1)
    network.load_state_dict(create_backbone("wrn16_2", 5, (1, 8, 8)).state_dict(), strict=True)
    assert {f"kdzoo_{name}" for name in backbones.names()} <= set(timm.list_models())
    assert timm.data.resolve_data_config({}, model=network)["input_size"] == (3, 32, 32)
    assert type(timm.create_model("vgg16", num_classes=5)) is not type(create_backbone("vgg16", 5))


def test_timm_is_imported_only_when_it_is_needed():
    code = (
        "import sys, kdzoo; kdzoo.create_backbone('resnet8', 10);"
        "sys.exit('timm' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_timms_names_are_known_before_timm_is_imported():
    import timm

    assert all(map(is_timm_model, timm.list_models(exclude_filters="kdzoo_*")))
    assert is_timm_model("resnet18.a1_in1k")
    assert not is_timm_model("resnet2O")
