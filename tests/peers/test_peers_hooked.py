import copy

import torch
from peers_networks import CLASSES, Plain, Tokens, backbone, batch

from kdzoo.peers.anatomy import anatomy
from kdzoo.peers.hooked import TappedNetwork


def tapped(network):
    whole = backbone(network)
    built = whole.build(0)
    parts = anatomy(whole, built)
    return TappedNetwork(built, parts.classifier, parts.stages)


def test_every_stage_can_be_tapped():
    group = tapped(Plain).eval()
    said = group(batch())
    assert [features.shape for features in said.features] == [
        (4, 4, 8, 8), (4, 8, 4, 4), (4, 16, 2, 2)
    ]  # fmt: skip
    assert torch.equal(said.logits, group.network(batch()))
    first = group.network.layer1(batch())
    assert torch.equal(said.features[0], first)


def test_tokens_become_maps():
    assert tapped(Tokens)(batch()).features[-1].shape == (4, 8, 5, 1)


def test_a_copy_has_taps_of_its_own():
    original = tapped(Plain).eval()
    expected = original(batch()).features[0]
    copied = copy.deepcopy(original)
    with torch.no_grad():
        copied.network.layer1[0].weight.zero_()
    assert not torch.equal(copied(batch()).features[0], expected)
    assert torch.equal(original(batch()).features[0], expected)


def test_the_network_still_works_by_itself():
    group = tapped(Plain).eval()
    assert group.network(batch()).shape == (4, CLASSES)
    assert torch.equal(group(batch()).logits, group.network(batch()))
