"""Mutual contrastive learning against its equations, comparison by comparison."""

import pytest
import torch
from methods_compared import actual, assert_equal
from methods_plain import run, tiny_backbone
from methods_reference import Setting, mcl
from test_method_equations import batch, make

from kdzoo.errors import ConfigError
from kdzoo.methods.mutual_contrast import contrast


def expected(method, x, one_hot, held=True):
    peers = method.peers.num_peers
    networks = [method.peers.network(p) for p in range(peers)]
    plain = run(networks, x, joint_trunk=False)
    heads = [
        {name: p.detach().clone().requires_grad_() for name, p in head.named_parameters()}
        for head in method.projections
    ]
    mean = sum(plain.z) / peers
    setting = Setting(one_hot, [mean] * peers, mean, [], method.config, 0.5, held)
    terms = mcl(plain, setting, heads)
    if not method.config.logits:
        del terms["kd"]
    sum(terms.values()).backward()
    gradients = {
        f"peers.peers.{p}.network.{name}": parameter.grad
        for p, network in enumerate(networks)
        for name, parameter in network.named_parameters()
    }
    for p, head in enumerate(heads):
        gradients |= {f"projections.{p}.{name}": value.grad for name, value in head.items()}
    return {name: term.item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize(
    "settings", [{}, {"peers": 3, "logits": True}, {"alpha": 0.3, "gamma": 0.5, "tau": 0.4}]
)
def test_terms_and_gradients_are_those_of_the_equations(settings):
    method = make("mcl", **settings)
    x, y, one_hot = batch(method)
    found = actual(method, x, y, 0.5)
    assert_equal(found, expected(method, x, one_hot))
    with pytest.raises(AssertionError):
        assert_equal(found, expected(method, x, one_hot, held=False))


def test_networks_of_different_widths_are_compared():
    method = make("mcl", backbones=[tiny_backbone(6), tiny_backbone(3)])
    x, y, one_hot = batch(method)
    assert_equal(actual(method, x, y, 0.5), expected(method, x, one_hot))


def test_an_image_that_is_alone_in_its_class_does_not_count():
    logits = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    alone = contrast(logits, torch.arange(4))
    alone.backward()
    assert alone == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert contrast(logits[:, :1, :1], torch.zeros(1)) == 0
    one_pair = contrast(logits[:1], torch.tensor([0, 0, 1, 2]))
    by_hand = [
        -(logits[0, a, b] - logits[0, a, [k for k in range(4) if k != a]].logsumexp(0))
        for a, b in ((0, 1), (1, 0))
    ]
    torch.testing.assert_close(one_pair, sum(by_hand) / 2)


@pytest.mark.parametrize("setting", [{"divergence": "dkd"}, {"standardize": True}])
def test_how_logits_are_compared_is_refused_where_none_are(setting):
    with pytest.raises(ConfigError, match=r"method\.logits=true"):
        make("mcl", **setting)
    make("mcl", logits=True, **setting)
