import copy

import torch
from peers_networks import CLASSES, Plain, Tokens, backbone, batch

from kdzoo.peers.anatomy import find_anatomy
from kdzoo.peers.hooked import HookedNetwork


def hooked(network):
    whole = backbone(network)
    built = whole.build(0)
    anatomy = find_anatomy(whole, built)
    return HookedNetwork(built, anatomy.classifier, anatomy.stages)


def test_every_stage_can_be_hooked():
    group = hooked(Plain).eval()
    said = group(batch())
    assert [features.shape for features in said.features] == [
        (4, 4, 8, 8), (4, 8, 4, 4), (4, 16, 2, 2)
    ]  # fmt: skip
    assert torch.equal(said.logits, group.network(batch()))
    first = group.network.layer1(batch())
    assert torch.equal(said.features[0], first)


def test_tokens_become_maps():
    assert hooked(Tokens)(batch()).features[-1].shape == (4, 8, 5, 1)


def test_a_copy_has_hooks_of_its_own():
    original = hooked(Plain).eval()
    expected = original(batch()).features[0]
    copied = copy.deepcopy(original)
    with torch.no_grad():
        copied.network.layer1[0].weight.zero_()
    assert not torch.equal(copied(batch()).features[0], expected)
    assert torch.equal(original(batch()).features[0], expected)


def test_the_network_still_works_by_itself():
    group = hooked(Plain).eval()
    assert group.network(batch()).shape == (4, CLASSES)
    assert torch.equal(group(batch()).logits, group.network(batch()))
