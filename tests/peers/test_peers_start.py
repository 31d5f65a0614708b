"""What peers start from is their own."""

import torch
from peers_networks import Plain
from torch import nn

from kdzoo.peers.start import separate


def around(norm):
    network = Plain()
    network.layer3 = nn.Sequential(network.layer3[0], norm, nn.ReLU())
    return network


def test_networks_that_share_statistics_alone_are_separated():
    norm = nn.BatchNorm2d(16, affine=False)  # it has no parameters that would tell
    first, second, third = separate([around(norm), around(norm), Plain()])
    first(torch.randn(4, 3, 8, 8))
    assert first.layer3[1].num_batches_tracked == 1
    assert second.layer3[1].num_batches_tracked == 0
    own = Plain()
    assert separate([third, own])[1] is own
