import pytest
import torch
from torch import nn

from kdzoo.backbones.create import (
    BackboneConfig,
    backbone_from_module,
    make_backbone,
    usual_input_size,
)
from kdzoo.peers.cost import measure_cost
from kdzoo.peers.describe import describe
from kdzoo.peers.group import BranchedPeers


def described(name, classes=10, **kwargs):
    config = BackboneConfig(name=name, **kwargs)
    backbone = make_backbone(config, classes, usual_input_size(config))
    return backbone, describe(backbone)


def test_the_published_sizes_and_the_cut_of_the_papers():
    _, page = described("resnet32", classes=100)
    assert page.total.parameters == 472756
    assert page.total.multiply_adds == pytest.approx(69.13e6, rel=1e-3)
    assert [stage.name for stage in page.stages] == ["layer1", "layer2", "layer3"]
    assert [stage.shape for stage in page.stages] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert (page.cut, page.problem) == ("layer2", None)
    assert (page.classifier, page.embedding) == ("fc", 64)


@pytest.mark.parametrize(
    "name", ["resnet20", "densenet40_12", "timm/test_vit", "timm/test_convnext"]
)
def test_before_and_after_are_trunk_and_branch(name):
    backbone, page = described(name)
    group = BranchedPeers([backbone] * 2, seed=0)
    stage = next(stage for stage in page.stages if stage.name == page.cut)
    assert stage.before.parameters == sum(p.numel() for p in group.trunk.parameters())
    assert stage.after.parameters == sum(p.numel() for p in group.branches[0].parameters())
    assert stage.branched(2).parameters == sum(p.numel() for p in group.parameters())
    assert stage.before.multiply_adds + stage.after.multiply_adds == page.total.multiply_adds


def test_one_counter_for_the_page_and_for_the_result():
    backbone, page = described("timm/test_vit")
    network = backbone.build(0).train()
    cost = measure_cost(network, backbone.input_size)
    assert cost == {"params": page.total.parameters, "macs": page.total.multiply_adds}
    assert network.training
    assert not network._forward_hooks


def test_multiply_adds_of_a_linear_layer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 2, 5))
    assert measure_cost(network, (3, 2, 2)) == {"params": 65, "macs": 60}


def test_costs_grow_from_stage_to_stage():
    _, page = described("mobilenetv2")
    before = [stage.before.multiply_adds for stage in page.stages]
    assert before == sorted(before)
    assert before[0] > 0
    assert before[-1] < page.total.multiply_adds
    ratios = [stage.branched(3).multiply_adds for stage in page.stages]
    assert ratios == sorted(ratios, reverse=True)


def test_the_size_an_architecture_is_made_for():
    assert usual_input_size(BackboneConfig(name="resnet20")) == (3, 32, 32)
    assert usual_input_size(BackboneConfig(name="timm/resnet10t")) == (3, 176, 176)
    config = BackboneConfig(name="timm/test_vit", kwargs={"img_size": 48})
    assert usual_input_size(config) == (3, 48, 48)


def test_where_the_user_wants_the_cut():
    assert described("resnet20", split_at="layer1")[1].cut == "layer1"
    page = described("resnet20", split_at="layer9")[1]
    assert page.cut is None
    assert "layer9" in page.problem


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 2)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv1(x)
        x = self.conv2(x) if x.sum() > 0 else self.conv2(-x)
        return self.fc(x.mean((2, 3)))


def test_a_network_that_cannot_be_cut_is_still_described():
    page = describe(backbone_from_module(Undecided, 5, (3, 16, 16)))
    assert [stage.name for stage in page.stages] == ["conv1", "conv2"]
    assert page.cut is None
    assert "layout=independent" in page.problem
    assert page.total.parameters == sum(p.numel() for p in Undecided().parameters())


def test_describing_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    described("resnet8")
    assert torch.equal(torch.rand(2), expected)
