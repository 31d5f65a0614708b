"""The maps of stages that are asked for, on every layout."""

import copy

import pytest
import torch
from peers_networks import (
    CLASSES,
    ChannelsLast,
    OverwritesTrunk,
    Plain,
    Tokens,
    backbone,
    batch,
)
from torch import nn

from kdzoo.errors import UserError
from kdzoo.peers.checkpointing import checkpoint_blocks
from kdzoo.peers.exits import ExitPeers
from kdzoo.peers.group import BranchedPeers, IndependentPeers

ALL = (1, 2, 3, -1, "layer1")

LAYOUTS = {
    "branched": lambda b, stages: BranchedPeers([b] * 2, seed=0, stages=stages),
    "independent": lambda b, stages: IndependentPeers([b] * 2, 0, stages),
    "exits": lambda b, stages: ExitPeers(b, 2, 0, stages),
}


@pytest.fixture(params=LAYOUTS)
def make(request):
    return LAYOUTS[request.param]


def by_hand(network, x):
    first = network.layer1(x)
    second = network.layer2(first)
    return first, second, network.layer3(second)


def whole_network(group, peer):
    return group.network(-1 if isinstance(group, ExitPeers) else peer)


def test_maps_are_what_a_plain_network_computes(make):
    group = make(backbone(Plain), ALL).eval()
    stages = group(batch()).stages
    assert tuple(stages) == ALL
    for peer in range(2):
        first, second, third = by_hand(whole_network(group, peer), batch())
        wanted = {1: first, 2: second, 3: third, -1: third, "layer1": first}
        for key, value in wanted.items():
            torch.testing.assert_close(stages[key][peer], value)


def test_gradients_flow_through_them(make):
    group = make(backbone(Plain), (1,))
    group(batch()).stages[1][0].square().sum().backward()
    moved = {name for name, p in group.named_parameters() if p.grad is not None}
    assert moved
    assert all("layer1" in name for name in moved)


def test_nothing_is_hooked_unless_it_is_asked_for():
    group = IndependentPeers([backbone(Plain)] * 2, seed=0)
    hooked = [name for name, m in group.named_modules() if m._forward_hooks]
    assert hooked == ["peers.0.network.layer3", "peers.1.network.layer3"]
    assert group(batch()).stages == {}


def test_each_peer_has_the_map_of_its_own_view():
    group = BranchedPeers([backbone(Plain)] * 2, seed=0, stages=(1, -1)).eval()
    views = torch.stack([batch(), batch() + 1])
    stages = group(views).stages
    for peer in range(2):
        first, _, third = by_hand(group.network(peer), views[peer])
        torch.testing.assert_close(stages[1][peer], first)
        torch.testing.assert_close(stages[-1][peer], third)


class OverwritesAll(Plain):
    """Changes the output of each stage in place."""

    def forward(self, x):
        x = self.layer1(x).mul_(2)
        x = self.layer2(x).mul_(2)
        return self.head(self.layer3(x).mul_(2).mean((2, 3)))


@pytest.mark.parametrize("split_at", ["layer1", "layer2"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_changed_in_place_is_seen_as_it_was(layout, split_at):
    group = LAYOUTS[layout](backbone(OverwritesAll, split_at=split_at), ALL[:3]).eval()
    stages = group(batch()).stages
    network = whole_network(group, 1)
    first = network.layer1(batch())
    second = network.layer2(2 * first)
    wanted = {1: first, 2: second, 3: network.layer3(2 * second)}
    for key, value in wanted.items():
        torch.testing.assert_close(stages[key][1], value)


def test_a_trunk_that_a_branch_overwrites():
    group = BranchedPeers(
        [backbone(OverwritesTrunk, split_at="layer1")] * 2, seed=0, stages=("layer1",)
    )
    seen = group(batch()).stages["layer1"]
    torch.testing.assert_close(seen[1], group.network(1).layer1(batch()))


@pytest.mark.parametrize("layout", ["branched", "independent"])
def test_other_layouts_of_maps_become_maps(layout):
    tokens = LAYOUTS[layout](backbone(Tokens), (-1, "blocks.0"))(batch()).stages
    assert tokens[-1][0].shape == tokens["blocks.0"][1].shape == (4, 8, 5, 1)
    assert LAYOUTS[layout](backbone(ChannelsLast), (1,))(batch()).stages[1][0].shape[:2] == (4, 6)


def test_networks_that_differ_give_maps_that_differ():
    group = IndependentPeers([backbone(Plain), backbone(lambda: Plain(width=6))], 0, (2,))
    assert [m.shape[1] for m in group(batch()).stages[2]] == [8, 12]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (4, r"stage 4 .* 1 \(layer1\), 2 \(layer2\), 3 \(layer3\)"),
        (-4, "stage -4"),
        (0, "stage 0"),
        ("layer4", "no module of that name.*layer"),
        ("", "no module"),
        ("head", "no map"),
    ],
)
def test_a_stage_that_is_not_there_is_refused(make, key, message):
    with pytest.raises(UserError, match=message):
        make(backbone(Plain), (key,))


class Blocks(Plain):
    """Stages made of blocks that can be computed again."""

    def __init__(self):
        super().__init__()
        self.layer2 = nn.Sequential(Block(4, 8, 2), Block(8, 8, 1))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()


@pytest.mark.parametrize("layout", ["branched", "independent"])
def test_blocks_may_be_computed_again(layout):
    group = LAYOUTS[layout](backbone(Blocks), (1, 2))
    group.eval()
    plain = copy.deepcopy(group)
    assert checkpoint_blocks(group)

    def gradients(peers):
        maps = peers(batch()).stages
        sum(m.square().mean() for both in maps.values() for m in both).backward()
        return [p.grad for p in peers.parameters() if p.grad is not None]

    torch.testing.assert_close(gradients(group), gradients(plain))


def test_they_are_a_part_of_a_whole_compiled_graph(make):
    group = make(backbone(Plain), (1, "layer2")).eval()
    compiled = torch.compile(group, fullgraph=True, backend="eager")
    torch.testing.assert_close(dict(compiled(batch()).stages), dict(group(batch()).stages))


def test_logits_are_the_same_with_and_without(make):
    logits = [make(backbone(Plain), stages).eval()(batch()).logits for stages in ((), ALL)]
    assert torch.equal(*logits)
    assert logits[0].shape == (2, 4, CLASSES)
