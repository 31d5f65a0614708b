"""Aggregators on hand-made outputs of peers, and on features of every kind."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kdzoo import registry
from kdzoo.backbones.create import backbone_from_module
from kdzoo.component import validate
from kdzoo.errors import ConfigError
from kdzoo.peers.group import BranchedPeers
from kdzoo.peers.outputs import PeerOutputs

B, K = 6, 4
WEIGHTED = ["ffm", "gate"]


def outputs(peers=3, widths=8, size=(4, 4), seed=0, trunk=True, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    widths = [widths] * peers if isinstance(widths, int) else widths
    return PeerOutputs(
        logits=draw(peers, B, K),
        embeddings=tuple(draw(B, width) for width in widths),
        features=tuple(draw(B, width, *size) for width in widths),
        trunk=draw(B, 5, 8, 8) if trunk else None,
    )


def make(name, example, **config):
    aggregator = registry.aggregators.get(name)
    torch.manual_seed(0)
    return aggregator(validate(aggregator.Config, {"name": name, **config}), example)


@pytest.mark.parametrize("name", registry.aggregators.names())
def test_targets_for_each_peer_and_one_ensemble(name):
    said = outputs()
    targets, ensemble = make(name, said)(said)
    assert targets.shape == (3, B, K)
    assert ensemble.shape == (B, K)
    assert targets.dtype == ensemble.dtype == torch.float32


@pytest.mark.parametrize("name", registry.aggregators.names())
def test_targets_stay_in_full_precision_under_autocast(name):
    said = outputs()
    aggregator = make(name, said)
    with torch.autocast("cpu", torch.bfloat16):
        targets, ensemble = aggregator(said)
    assert targets.dtype == ensemble.dtype == torch.float32


@pytest.mark.parametrize("name", WEIGHTED)
@given(seed=st.integers(0, 10**6), peers=st.integers(2, 5))
@settings(max_examples=15)
def test_weights_are_positive_and_sum_to_one(name, seed, peers):
    said = outputs(peers=peers, seed=seed)
    weights = make(name, said).weights(said)
    assert weights.shape == (B, peers)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(B))


def test_ffm_weighs_the_peers_of_each_class():
    said = outputs()
    ffm = make("ffm", said, score="class")
    weights = ffm.weights(said)
    assert weights.shape == (B, 3, K)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(B, K))
    assert weights.std(dim=2).min() > 0, "the classes share their weights"
    wanted = sum(weights[:, i] * said.logits[i] for i in range(3))
    torch.testing.assert_close(ffm(said).ensemble, wanted)


@pytest.mark.parametrize("peer", range(3))
def test_ffm_looks_at_the_features_of_every_peer(peer):
    said = outputs()
    ffm = make("ffm", said)
    features = [f.clone().requires_grad_() for f in said.features]
    again = PeerOutputs(said.logits, said.embeddings, tuple(features), said.trunk)
    ffm.weights(again)[:, 0].sum().backward()
    assert features[peer].grad.abs().sum() > 0


def test_the_gate_looks_at_the_trunk_alone():
    said = outputs()
    gate = make("gate", said)
    trunk = said.trunk.clone().requires_grad_()
    weights = gate.weights(PeerOutputs(said.logits, said.embeddings, said.features, trunk))
    weights[:, 0].sum().backward()
    assert trunk.grad.abs().sum() > 0
    other = outputs(seed=1)
    same_trunk = PeerOutputs(other.logits, other.embeddings, other.features, said.trunk)
    torch.testing.assert_close(gate.eval().weights(said), gate.weights(same_trunk))


def test_the_gate_averages_the_views_of_a_sample():
    said = outputs()
    gate = make("gate", said).eval()
    views = torch.cat([said.trunk + 1, said.trunk - 3, said.trunk + 2])  # peer after peer
    weights = gate.weights(PeerOutputs(said.logits, said.embeddings, said.features, views))
    torch.testing.assert_close(weights, gate.weights(said))


def test_equal_weights_make_the_mean():
    said = outputs()
    ffm = make("ffm", said)
    nn.init.zeros_(ffm.score[2].weight)
    nn.init.zeros_(ffm.score[2].bias)
    torch.testing.assert_close(ffm(said).ensemble, make("mean", said)(said).ensemble)


def test_ffm_takes_peers_of_different_widths_and_resolutions():
    small, large = outputs(2, [8, 12], (2, 2)), outputs(2, [8, 12], (4, 4))
    features = (small.features[0], large.features[1])
    said = PeerOutputs(small.logits, small.embeddings, features)
    assert make("ffm", said).weights(said).shape == (B, 2)


def test_ffm_widths_follow_the_peers_or_the_config():
    said = outputs(widths=32)
    assert make("ffm", said).score[0].weight.shape == (8, 32)
    assert make("ffm", said, channels=10, hidden=7).score[0].weight.shape == (7, 10)


def test_leave_one_out_leaves_one_out():
    said = outputs()
    targets, ensemble = make("leave_one_out", said)(said)
    torch.testing.assert_close(targets[1], (said.logits[0] + said.logits[2]) / 2)
    torch.testing.assert_close(ensemble, said.logits.mean(0))


def test_attention_of_alike_embeddings_makes_the_mean():
    said = outputs()
    alike = PeerOutputs(said.logits, (said.embeddings[0],) * 3, said.features)
    targets, _ = make("attention", alike)(alike)
    torch.testing.assert_close(targets, said.logits.mean(0).expand(3, B, K))


def test_attention_needs_one_width():
    with pytest.raises(ConfigError, match=r"embeddings of one width, and these have \[8, 12\]"):
        make("attention", outputs(2, [8, 12]))


def test_the_gate_needs_a_trunk():
    with pytest.raises(ConfigError, match="layout=branched, or choose ffm"):
        make("gate", outputs(trunk=False))


# Features of networks that are no plain CNN: [B, h, w, C] maps and tokens [B, N, C].


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Linear(width, width)

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class ChannelsLast(nn.Module):
    """A patch embedding and two stages on [B, h, w, C] maps, as Swin has them."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.stage1 = Block(12)
        self.reduce = nn.Linear(48, 20)
        self.stage2 = Block(20)
        self.head = nn.Linear(20, K)

    def forward(self, x):
        x = self.stage1(self.patch(x).permute(0, 2, 3, 1))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.stage2(self.reduce(x)).mean(dim=(1, 2)))


class Tokens(nn.Module):
    """A patch embedding and blocks on [B, N, C] tokens, as ViT has them."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.block1 = Block(12)
        self.block2 = Block(12)
        self.head = nn.Linear(12, K)

    def forward(self, x):
        x = self.block2(self.block1(self.patch(x).flatten(2).transpose(1, 2)))
        return self.head(x.mean(dim=1))


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage1 = nn.Conv2d(3, 6, 3, 2, 1)
        self.stage2 = nn.Conv2d(6, 8, 3, 2, 1)
        self.head = nn.Linear(8, K)

    def forward(self, x):
        return self.head(self.stage2(self.stage1(x).relu()).relu().mean(dim=(2, 3)))


FEATURES = {
    Convolutions: ("stage1", (8, 4, 4)),
    ChannelsLast: ("stage1", (20, 2, 2)),
    Tokens: ("block1", (12, 16, 1)),
}


@pytest.mark.parametrize("name", ["ffm", "fusion", "gate", "attention", "concat"])
@pytest.mark.parametrize("network", FEATURES, ids=lambda network: network.__name__)
def test_features_of_every_kind(network, name):
    split_at, shape = FEATURES[network]
    backbone = backbone_from_module(
        lambda: network(), K, (3, 16, 16), split_at=split_at, classifier="head"
    )
    peers = BranchedPeers([backbone] * 3, seed=0)
    said = peers(torch.randn(B, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert said.features[0].shape == (B, *shape)
    aggregator = make(name, peers.example())
    targets, ensemble = aggregator(said)
    (targets.square().sum() + ensemble.square().sum()).backward()
    for parameter in aggregator.parameters():
        assert torch.isfinite(parameter.grad).all()
    if name == "ffm":
        weights = aggregator.weights(said)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(B))
        assert weights.std(dim=0).min() > 0, "the weights do not depend on the sample"


@pytest.mark.parametrize("name", ["ffm", "fusion"])
def test_convolutions_start_like_those_of_the_networks(name):
    """He et al.'s normal distribution by fan-out, and norms that change nothing."""
    aggregator = make(name, outputs(widths=64))
    for layer in aggregator.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            scaled = layer.weight * (fan_out / 2) ** 0.5
            assert scaled.std().item() == pytest.approx(1, abs=0.06)
            assert scaled.abs().max() > 3  # a uniform distribution would end at 1.7
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()


def test_hierarchy_takes_in_one_peer_after_the_other():
    said = outputs(widths=[8, 4, 6])
    targets, ensemble = make("hierarchy", said)(said)
    assert torch.equal(targets[0], said.logits[0])
    assert torch.equal(targets[-1], ensemble)
    for before, own, target in zip(targets[:-1], said.logits[1:], targets[1:], strict=True):
        share = ((target - before) / (own - before)).median(dim=1, keepdim=True).values
        assert ((share > 0) & (share < 1)).all()
        torch.testing.assert_close(target, before + share * (own - before))


def test_hierarchy_of_maps_of_different_sizes():
    said = outputs(peers=2)
    uneven = replace(said, features=(said.features[0], said.features[1][..., :2]))
    with pytest.raises(ConfigError, match="maps of one size"):
        make("hierarchy", uneven)
