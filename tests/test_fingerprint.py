"""What stands for code and modules that are handed over in Python."""

import functools
import importlib
import sys
import threading
from copy import deepcopy

import pytest
import torch
from torch import nn

from kdzoo.backbones.create import own_name
from kdzoo.backbones.fingerprint import backbone_fingerprint
from kdzoo.fingerprint import fingerprint


class Net(nn.Module):
    def __init__(self, width=8, slope=0.0, num_classes=3):
        super().__init__()
        self.slope = slope
        self.conv = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(nn.functional.leaky_relu(self.conv(x), self.slope).mean((2, 3)))


def _closure(width, slope=0.0):
    def build(num_classes):
        return Net(width, slope, num_classes)

    return build


def _weights(value):
    def build():
        network = Net()
        nn.init.constant_(network.conv.weight, value)
        return network

    return build


KINDS = {
    "partial": (functools.partial(Net, width=4), functools.partial(Net, width=5)),
    "lambda": (lambda: Net(4), lambda: Net(5)),
    "closure": (_closure(4), _closure(5)),
    "closure of equal shapes": (_closure(4, 0.1), _closure(4, 0.2)),
    "partial of equal shapes": (functools.partial(Net, slope=1), functools.partial(Net, slope=2)),
    "modules of equal repr": (Net(slope=0.1), Net(slope=0.2)),
    "weights that are loaded": (_weights(0.1), _weights(0.2)),
    "functions over modules": tuple(
        functools.partial(lambda network: network, Net().requires_grad_(False)) for _ in range(2)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_different_networks_are_different(kind):
    first, second = (backbone_fingerprint(one, 3, (3, 8, 8)) for one in KINDS[kind])
    assert first.difference(second) is not None
    assert own_name(KINDS[kind][0]) != own_name(KINDS[kind][1])


def test_what_does_the_same_is_the_same():
    for build in (lambda: _closure(4), lambda: functools.partial(Net, width=4), lambda: Net):
        first, second = (backbone_fingerprint(build(), 3, (3, 8, 8)) for _ in range(2))
        assert first == second


def test_a_modules_weights_are_what_training_starts_from_and_so_a_part_of_it():
    network, other = Net(), Net()
    first, second, third = (
        backbone_fingerprint(one, 3, (3, 8, 8)) for one in (network, deepcopy(network), other)
    )
    assert first == second
    assert first.difference(third) == "other weights to start from"
    assert own_name(network) == own_name(deepcopy(network)) != own_name(other)


def test_kdzoos_networks_are_known_by_their_shapes():
    small, large = (backbone_fingerprint(name, 3, (3, 8, 8)) for name in ("resnet8", "resnet14"))
    assert small.code is small.start is None
    assert small.difference(large) == "weights of other names or shapes"


FILE = """
from torch import nn

SLOPE = 0.1

def activation(x):
    return nn.functional.leaky_relu(x, SLOPE)

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return activation(self.conv(x))

class Own(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.block = Block()
        self.fc = nn.Linear(4, num_classes)
    def forward(self, x):
        return self.fc(self.block(x).mean((2, 3)))

def unrelated():
    return 1
"""


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """The fingerprint of a network in a person's file, with an edit of it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def fingerprint_of(*edit):
        (tmp_path / "edited_net.py").write_text(FILE.replace(*edit) if edit else FILE)
        sys.modules.pop("edited_net", None)
        importlib.invalidate_caches()
        return backbone_fingerprint("edited_net:Own", 3, (3, 8, 8))

    yield fingerprint_of
    sys.modules.pop("edited_net", None)


@pytest.mark.parametrize(
    "edit",
    [
        ("self.fc(self.block(x)", "self.fc(2 * self.block(x)"),  # the network itself
        ("activation(self.conv(x))", "activation(-self.conv(x))"),  # a block of it
        ("leaky_relu(x, SLOPE)", "leaky_relu(x, 2 * SLOPE)"),  # a function that it calls
        ("SLOPE = 0.1", "SLOPE = 0.2"),  # a number that this uses
    ],
)
def test_an_edited_file_is_another_network(edited, edit):
    assert edited().difference(edited(*edit)) == "other code"


def test_an_edit_of_what_it_does_not_use_leaves_a_network_as_it_is(edited):
    assert edited() == edited("return 1", "return 2")


def test_anything_can_be_handed_over():
    ring = {"lock": threading.Lock(), "tensor": torch.ones(2), "set": {1, 2}, "function": len}
    ring["itself"] = ring
    assert fingerprint(ring) == fingerprint(ring)
    assert fingerprint(ring) != fingerprint({**ring, "tensor": torch.zeros(2)})
