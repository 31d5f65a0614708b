"""The local zoo against the sizes that are published for it.

FLOPs are multiply-adds of one 32x32 image, which is half of what PyTorch's counter counts.
"""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdzoo.backbones.create import BackboneConfig, create_backbone, make_backbone
from kdzoo.peers.anatomy import find_anatomy
from kdzoo.peers.group import BranchedPeers
from kdzoo.registry import backbones

# name, classes, parameters in millions as printed in the source
PARAMETERS = [
    # He et al. (CVPR 2016), table 6
    ("resnet20", 10, 0.27), ("resnet32", 10, 0.46), ("resnet44", 10, 0.66), ("resnet56", 10, 0.85),
    ("resnet110_basic", 10, 1.7),
    # Lan et al. (NeurIPS 2018) call it ResNet-110, at 100 classes
    ("resnet164", 100, 1.73),
    # Yang et al., MCL-OKD (ICASSP 2021), at 100 classes
    ("resnet32", 100, 0.47), ("resnet110", 100, 1.17), ("vgg16", 100, 14.77),
    ("densenet40_12", 100, 0.19),
    # Huang et al. (CVPR 2017), DenseNet-BC
    ("densenet100_12", 10, 0.8),
    # Zagoruyko & Komodakis (BMVC 2016); Tian et al. (ICLR 2020) for 16-2 at 100 classes
    ("wrn16_2", 100, 0.70), ("wrn40_2", 10, 2.2), ("wrn28_10", 10, 36.5),
    # Tian et al. (ICLR 2020), appendix
    ("wrn40_1", 100, 0.57), ("resnet8x4", 100, 1.23), ("resnet32x4", 100, 7.43),
    # kuangliu/pytorch-cifar
    ("resnet18", 10, 11.17),
    # Oliver et al. (NeurIPS 2018)
    ("wrn28_2", 10, 1.5),
    # chenyaofo/pytorch-cifar-models
    ("resnet20", 100, 0.28), ("resnet44", 100, 0.67), ("resnet56", 100, 0.86),
    ("mobilenetv2", 100, 2.35), ("mobilenetv2", 10, 2.24),
    ("shufflenetv2", 100, 1.36), ("shufflenetv2", 10, 1.26),
]  # fmt: skip

# name, multiply-adds in millions at 100 classes
MULTIPLY_ADDS = [
    # chenyaofo/pytorch-cifar-models; its VGG has two more linear layers, 0.5M
    ("resnet20", 40.82), ("resnet32", 69.13), ("resnet44", 97.44), ("resnet56", 125.75),
    ("vgg16", 313.77), ("vgg19", 398.71), ("mobilenetv2", 88.09), ("shufflenetv2", 45.09),
]  # fmt: skip

# name, billions at 100 classes to two decimals, Yang et al.
BILLIONS = [("densenet40_12", 0.07), ("resnet32", 0.07), ("vgg16", 0.31), ("resnet110", 0.17)]


X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def multiply_adds(name):
    network = create_backbone(name, 100).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops() / 2


def decimals(value):
    return len(str(value).partition(".")[2])


@pytest.mark.parametrize(("name", "classes", "millions"), PARAMETERS)
def test_parameters_as_published(name, classes, millions):
    count = sum(p.numel() for p in create_backbone(name, classes).parameters()) / 1e6
    # option B shortcuts add 0.003M to He et al.'s count, which rounds up
    assert count == pytest.approx(millions, abs=0.51 * 10 ** -decimals(millions) + 0.003)


@pytest.mark.parametrize(("name", "millions"), MULTIPLY_ADDS)
def test_flops_as_published(name, millions):
    assert multiply_adds(name) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("name", "billions"), BILLIONS)
def test_flops_of_the_online_distillation_tables(name, billions):
    assert round(multiply_adds(name) / 1e9, 2) == billions


@pytest.mark.parametrize("name", sorted(set(backbones.names()) - {"wrn28_10"}))
@pytest.mark.parametrize("size", [8, 32])
def test_every_network_has_the_stages_that_its_modules_are_named_after(name, size):
    whole = make_backbone(BackboneConfig(name=name), 10, (1, size, size))
    stages = [stage.name for stage in find_anatomy(whole, whole.build(0)).stages]
    if name.startswith("densenet"):
        assert stages == ["transition1", "transition2", "layer3"]
        return
    layers = [stage for stage in stages if stage.startswith("layer")]
    assert layers == [f"layer{i + 1}" for i in range(len(layers))]
    assert len(layers) >= 3
    assert stages[-1] == layers[-1]


# name, the shape of what crosses the cut in the published code, and of the last features
CUTS = [
    ("resnet32", (32, 16, 16), (64, 8, 8)),
    ("resnet110", (128, 16, 16), (256, 8, 8)),
    ("resnet18", (256, 8, 8), (512, 4, 4)),
    ("densenet40_12", (60, 8, 8), (132, 8, 8)),
    ("vgg16", (512, 2, 2), (512, 1, 1)),
]


@pytest.mark.parametrize(("name", "trunk", "features"), CUTS)
def test_the_cut_and_the_features_are_those_of_the_published_code(name, trunk, features):
    peers = BranchedPeers([make_backbone(BackboneConfig(name=name), 100, (3, 32, 32))] * 2, seed=0)
    said = peers.eval()(torch.randn(1, 3, 32, 32))
    assert said.trunk.shape[1:] == trunk
    assert said.features[0].shape[1:] == features


def test_vgg_ends_in_a_max_pool():
    network = create_backbone("vgg16", 10).eval()
    inside = network.layer5[:-1](network.layer4(network.layer3(network.layer2(network.layer1(X)))))
    wanted = network.fc(inside.amax(dim=(2, 3)))
    assert inside.shape[2:] == (2, 2)
    torch.testing.assert_close(network(X), wanted)


def test_vgg_starts_as_published():
    """Yang et al.: no biases, convolutions by fan-out and a narrow classifier."""
    network = create_backbone("vgg16", 100)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[:, 0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert network.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    assert all((bias == 0).all() for bias in biases)


def test_densenet_starts_as_published():
    """He et al.'s initialisation by fan-in, which is the wider one before a growth layer."""
    network = create_backbone("densenet40_12", 100)
    entries = [
        (layer.weight * (layer.weight[0].numel() / 2) ** 0.5).flatten()
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    assert torch.cat(entries).std().item() == pytest.approx(1, abs=0.02)
    assert (network.fc.bias == 0).all()


FAMILIES = ["resnet8", "wrn16_2", "densenet40_12", "vgg16", "mobilenetv2", "shufflenetv2"]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_learns(name):
    network = create_backbone(name, 10, (1, 16, 16))
    network(torch.randn(4, 1, 16, 16)).square().mean().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("name", ["resnet8", "resnet110", "resnet18", "wrn16_2", "wrn20_8"])
def test_deeper_by_blocks_of_the_last_stage(name):
    backbone = make_backbone(BackboneConfig(name=name), 10, (3, 32, 32))
    plain, deeper = backbone.build(0), backbone.deeper(2).build(0)
    stage = find_anatomy(backbone, plain).stages[-1].name
    blocks = plain.get_submodule(stage)
    added = deeper.get_submodule(stage)[len(blocks) :]
    assert [type(block) for block in added] == [type(blocks[-1])] * 2
    count = {net: sum(p.numel() for p in net.parameters()) for net in (plain, deeper, *added)}
    assert count[deeper] == count[plain] + count[added[0]] + count[added[1]]
    assert plain.state_dict().keys() < deeper.state_dict().keys()
    assert torch.equal(deeper.conv1.weight, plain.conv1.weight)
    assert not torch.equal(added[0].conv1.weight, added[1].conv1.weight)
    assert deeper(X).shape == (2, 10)
