import pytest
import torch
from peers_networks import (
    CLASSES,
    SIZE,
    ChannelsLast,
    ConvHead,
    Plain,
    Tokens,
    backbone,
    block,
)
from torch import nn
from torchvision import models

from kdzoo.backbones.create import BackboneConfig, backbone_from_module, make_backbone
from kdzoo.errors import UserError
from kdzoo.peers.anatomy import find_anatomy
from kdzoo.peers.group import BranchedPeers, IndependentPeers


def look_at(whole):
    return find_anatomy(whole, whole.build(0))


def stages(whole):
    return [stage.name for stage in look_at(whole).stages]


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Plain()

    def forward(self, x):
        return self.model(x)


class SharedActivation(nn.Module):
    """One ReLU and one pooling for all layers, as in many tutorials."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.fc = nn.Linear(8 * 4, CLASSES)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        return self.fc(x.flatten(1))


class Pairs(Plain):
    """A stage that puts out something else first, with more entries than there are samples."""

    def __init__(self):
        super().__init__()
        self.layer3 = PairsStage()

    def forward(self, x):
        _, x = self.layer3(self.layer2(self.layer1(x)))
        return self.head(x.mean((2, 3)))


class PairsStage(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = block(8, 16)

    def forward(self, x):
        out = self.body(x)
        return out.flatten(0, 1), out


class Isolated(nn.Module):
    """Nothing but a classifier."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * 64, CLASSES)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Functional(Plain):
    """Uses its classifier's weight without calling the classifier."""

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(x)))
        return nn.functional.linear(x.mean((2, 3)), self.head.weight)


def test_stages_end_where_the_resolution_changes():
    assert stages(backbone(Plain)) == ["layer1", "layer2", "layer3"]
    assert stages(backbone(Wrapped)) == ["model.layer1", "model.layer2", "model.layer3"]
    assert stages(backbone(SharedActivation)) == ["conv1", "conv2"]
    sequence = nn.Sequential(
        block(3, 4), block(4, 4, 1), block(4, 8), nn.Flatten(), nn.Linear(32, CLASSES)
    )
    assert stages(backbone(lambda: sequence)) == ["1", "2"]


def test_blocks_of_one_resolution_are_stages_each():
    assert stages(backbone(Tokens)) == ["embed", *(f"blocks.{i}" for i in range(6))]
    assert look_at(backbone(Tokens)).isotropic
    assert not look_at(backbone(Plain)).isotropic


def test_a_network_without_maps_has_its_layers_as_stages():
    layers = [nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU()]
    whole = backbone(lambda: nn.Sequential(*layers, nn.Linear(8, CLASSES)))
    assert look_at(whole).classifier == "5"
    assert look_at(whole).stages[-1].as_map(torch.zeros(2, 8)).shape == (2, 8, 1, 1)


def test_the_axis_of_the_channels():
    assert [stage.channels for stage in look_at(backbone(Plain)).stages] == [1, 1, 1]
    last = look_at(backbone(ChannelsLast)).stages[-1]
    assert last.as_map(torch.zeros(2, *last.shape)).shape == (2, 10, 2, 2)
    last = look_at(backbone(Tokens)).stages[-1]
    assert last.as_map(torch.zeros(2, *last.shape)).shape == (2, 8, 5, 1)


@pytest.mark.parametrize("layout", [BranchedPeers, IndependentPeers])
def test_the_features_have_an_entry_for_each_sample(layout):
    group = layout([backbone(Pairs)] * 2, seed=0)
    assert group(torch.zeros(4, *SIZE)).features[0].shape == (4, 16, 2, 2)


def test_the_classifier_is_found_and_may_be_named():
    assert look_at(backbone(Plain)).classifier == "head"
    assert look_at(backbone(ConvHead)).classifier == "head"
    assert look_at(backbone(Wrapped)).classifier == "model.head"
    assert look_at(backbone(Plain, classifier="head")).classifier == "head"


@pytest.mark.parametrize(
    ("network", "classifier", "message"),
    [
        (Plain, "haed", "Did you mean head"),
        (Plain, "layer1", "no module of .*Plain.* in layer1"),
        (Functional, None, "Name the one"),
        (Isolated, None, "no features"),
    ],
)
def test_what_cannot_be_found_is_said(network, classifier, message):
    with pytest.raises(UserError, match=message):
        look_at(backbone(network, classifier=classifier))


def test_a_network_for_other_classes_or_sizes_is_refused():
    with pytest.raises(UserError, match=r"shape \(7,\).*5 classes"):
        look_at(backbone(lambda: Plain(num_classes=7)))
    with pytest.raises(UserError, match="does not run on inputs of 1x8x8"):
        look_at(backbone_from_module(Plain, CLASSES, (1, 8, 8)))


def test_looking_changes_nothing():
    whole = backbone(Plain)
    network = whole.build(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.layer2.eval()
    find_anatomy(whole, network)
    assert network.training
    assert not network.layer2.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("build", "classifier", "last_stages"),
    [
        (models.resnet18, "fc", ["layer3", "layer4"]),
        (models.mobilenet_v2, "classifier.1", ["features.13", "features.17"]),
        (models.squeezenet1_1, "classifier.1", ["features.7", "features.12"]),
        (models.swin_t, "head", ["features.5", "features.7"]),
    ],
)
def test_torchvision_networks(build, classifier, last_stages):
    whole = backbone_from_module(build, CLASSES, (3, 32, 32))
    found = look_at(whole)
    assert found.classifier == classifier
    assert [stage.name for stage in found.stages][-2:] == last_stages


def test_small_images_do_not_blur_the_stages():
    whole = backbone_from_module(models.resnet18, CLASSES, SIZE)
    assert stages(whole) == ["relu", "layer1", "layer2", "layer3", "layer4"]


def test_timm_says_where_its_stages_are():
    config = BackboneConfig(name="timm/test_vit", kwargs={"img_size": 32})
    found = look_at(make_backbone(config, CLASSES, (3, 32, 32)))
    assert found.classifier == "head"
    assert [stage.name for stage in found.stages] == [f"blocks.{i}" for i in range(6)]
