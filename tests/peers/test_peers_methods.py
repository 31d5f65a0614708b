"""Methods on networks whose features have different layouts."""

import pytest
import torch
from peers_networks import CLASSES, SIZE, ChannelsLast, ConvHead, Plain, Tokens, batch

import kdzoo


@pytest.mark.parametrize("network", [Plain, ChannelsLast, Tokens, ConvHead])
@pytest.mark.parametrize("method", ["mbde", "one", "okddip", "ffl"])
def test_a_step_and_the_student(method, network):
    trained = kdzoo.create_method(method, network, CLASSES, SIZE)
    terms = trained(batch(), torch.arange(4), torch.tensor(0.5)).terms
    sum(terms.values()).backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(torch.isfinite(p.grad).all() for p in trained.parameters() if p.grad is not None)
    assert type(trained.student()) is network


@pytest.mark.parametrize("method", ["dml", "kdcl"])
def test_peers_of_different_widths_and_layouts(method):
    wide = [Plain, lambda: Plain(width=6), Tokens]
    trained = kdzoo.create_method(method, wide, CLASSES, SIZE, layout="independent", peers=3)
    x = torch.stack([batch(seed=i) for i in range(trained.views)]) if trained.views > 1 else batch()
    terms = trained(x, torch.arange(4), torch.tensor(0.5)).terms
    assert all(torch.isfinite(value) for value in terms.values())
