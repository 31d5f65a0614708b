"""Activation checkpointing: the same gradients and statistics from fewer saved activations."""

import pytest
import torch
from peers_networks import CLASSES, OverwritesTrunk, Plain, backbone, batch
from torch import nn

from kdzoo.backbones.create import BackboneConfig, as_backbone
from kdzoo.errors import ConfigError
from kdzoo.peers.checkpointing import checkpoint_blocks
from kdzoo.peers.group import BranchedPeers, IndependentPeers


def make(layout, network):
    """Three branches, or two networks."""
    if layout == "branched":
        return BranchedPeers([network] * 3, seed=0)
    return IndependentPeers([network] * 2, seed=0)


def step(peers, x):
    """The logits, gradients and buffers of one training step, and the bytes saved for it."""
    held = {one.untyped_storage().data_ptr() for one in (*peers.parameters(), *peers.buffers())}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            saved[storage.data_ptr()] = storage  # kept, so that its address stays its own
        return tensor.detach().requires_grad_(tensor.requires_grad)

    peers.train()
    torch.manual_seed(1)  # of dropout
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = peers(x).logits
    size = sum(storage.nbytes() for storage in saved.values())
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in peers.parameters()]
    return [logits.detach(), *gradients, *(b.clone() for b in peers.buffers())], size


@pytest.mark.parametrize(
    ("layout", "name", "kwargs", "most"),
    [
        ("branched", "resnet20", {}, 0.35),
        ("independent", "resnet20", {}, 0.35),
        ("independent", "vgg16", {}, 0.1),
        ("branched", "shufflenetv2", {}, 0.25),
        ("branched", "timm/resnet10t", {"drop_path_rate": 0.5}, 0.55),
        ("branched", "timm/convnext_atto", {"drop_path_rate": 0.5}, 0.2),
        ("independent", "timm/densenet121", {}, 0.4),
    ],
)
def test_a_step_is_the_same_bit_by_bit_and_saves_less(layout, name, kwargs, most):
    network = as_backbone(BackboneConfig(name=name, kwargs=kwargs), CLASSES, (3, 32, 32))
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    without, all_of_it = step(make(layout, network), x)
    peers = make(layout, network)
    names = list(peers.state_dict())
    checkpoint_blocks(peers)
    with_it, kept = step(peers, x)
    for ours, theirs in zip(with_it, without, strict=True):
        assert torch.equal(ours, theirs) if ours is not None else theirs is None
    assert kept < most * all_of_it
    assert list(peers.state_dict()) == names
    student = peers.network(0)
    assert "forward" not in {key for module in student.modules() for key in vars(module)}


def test_what_a_network_carries_from_step_to_step_moves_once():
    """Spectral norm iterates in training mode, and the second time it must start as the first."""

    class Normed(Plain):
        def __init__(self):
            super().__init__()
            self.layer2[0] = nn.utils.parametrizations.spectral_norm(self.layer2[0])

    network = backbone(Normed())
    without, _ = step(make("independent", network), batch())
    peers = make("independent", network)
    assert any("layer2" in path for path in checkpoint_blocks(peers))
    with_it, _ = step(peers, batch())
    assert all(map(torch.equal, with_it, without))


def test_a_block_that_overwrites_its_input_keeps_its_activations():
    class Two(OverwritesTrunk):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3))

        def forward(self, x):
            return super().forward(self.stem(x))

    peers = make("independent", backbone(Two()))
    assert checkpoint_blocks(peers) == [f"peers.{i}.network.stem" for i in range(2)]


def test_a_network_of_loose_layers_is_refused():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, CLASSES)

        def forward(self, x):
            return self.head(self.second(self.first(x).relu()).mean((2, 3)))

    with pytest.raises(ConfigError, match=r"training\.checkpointing: .* has no blocks"):
        checkpoint_blocks(make("independent", backbone(Loose())))


def test_a_network_that_is_another_one_the_second_time_is_refused():
    class Counts(nn.Sequential):
        calls = 0

        def forward(self, x):
            Counts.calls += 1
            return super().forward(x) * Counts.calls

    class Drifts(Plain):
        def __init__(self):
            super().__init__()
            self.layer2 = Counts(*self.layer2)

    network = backbone(Drifts())
    with pytest.raises(ConfigError, match="cannot be computed a second time"):
        checkpoint_blocks(make("independent", network))
