"""Layer-wise mutual contrastive learning against its equations, pair of exits by pair of exits."""

from itertools import product

import pytest
import torch
from methods_plain import ce, kl, probabilities, run, tiny_backbone
from methods_reference import actual, assert_equal, contrast, leave, two_layers
from test_method_equations import batch, make

from kdzoo.errors import UserError

EXITS = 3


def plain_heads(heads):
    """The weights of a module's parts, free of it, by their names in it."""
    return {name: p.detach().clone().requires_grad_() for name, p in heads.named_parameters()}


def under(weights, prefix):
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


def expected(method, x, y, one_hot, held=True):
    hold = torch.detach if held else (lambda tensor: tensor)
    config, T = method.config, method.config.temperature
    peers = config.peers
    networks = [method.peers.network(p) for p in range(peers)]
    plain = run(networks, x, joint_trunk=False)
    weights = plain_heads(method.heads)
    z, e, aggregated = {}, {}, []
    for i in range(peers):
        h = []
        for k, early in enumerate((plain.early[i], plain.trunk[i])):
            embedding, z[i, k] = leave(early, under(weights, f"{i}.exits.{k}."))
            h.append(embedding)
        h.append(plain.h[i])
        z[i, EXITS - 1] = plain.z[i]
        rows = []
        scores = two_layers(torch.cat(h, dim=1), under(weights, f"{i}.gate."))
        for b, score in enumerate(scores):
            share = probabilities(score)
            rows.append(sum(share[k] * z[i, k][b] for k in range(EXITS)))
        aggregated.append(torch.stack(rows))
        for k in range(EXITS):
            projected = two_layers(h[k], under(weights, f"{i}.projections.{k}."))
            e[i, k] = torch.stack([row / (row**2).sum().sqrt() for row in projected])
    classes = y.tolist()
    terms = dict.fromkeys(("vcl", "icl", "soft_vcl", "soft_icl"), 0)
    places = list(product(range(peers), range(EXITS)))
    pairs = [(e[one], e[other]) for one, other in product(places, places) if one[0] < other[0]]
    for a, b in pairs:
        ab, ba, aa, bb = (s @ t.T / config.tau for s, t in ((a, b), (b, a), (a, a), (b, b)))
        terms["vcl"] += config.alpha * (contrast(aa, classes) + contrast(bb, classes))
        terms["icl"] += config.alpha * (contrast(ab, classes) + contrast(ba, classes))
        terms["soft_vcl"] += config.gamma * (kl(hold(bb), aa, T) + kl(hold(aa), bb, T))
        terms["soft_icl"] += config.gamma * (kl(hold(ba), ab, T) + kl(hold(ab), ba, T))
    terms["ce"] = sum(ce(logits, one_hot) for logits in z.values())
    terms["ensemble_ce"] = sum(ce(logits, one_hot) for logits in aggregated)
    terms["kd"] = sum(kl(hold(a), plain.z[i], T) for i in range(peers) for a in aggregated)
    sum(terms.values()).backward()
    gradients = {
        f"peers.peers.{p}.network.{name}": parameter.grad
        for p, network in enumerate(networks)
        for name, parameter in network.named_parameters()
    }
    gradients |= {f"heads.{name}": value.grad for name, value in weights.items()}
    return {name: term.item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize(
    "settings",
    [{}, {"peers": 3}, {"alpha": 0.3, "gamma": 0.5, "tau": 0.4, "width": 7, "temperature": 2.0}],
)
def test_terms_and_gradients_are_those_of_the_equations(settings):
    method = make("lmcl", **settings)
    x, y, one_hot = batch(method)
    found = actual(method, x, y, 0.5)
    assert_equal(found, expected(method, x, y, one_hot))
    with pytest.raises(AssertionError):
        assert_equal(found, expected(method, x, y, one_hot, held=False))


def test_networks_of_different_widths_are_compared():
    method = make("lmcl", backbones=[tiny_backbone(6), tiny_backbone(3)])
    x, y, one_hot = batch(method)
    assert_equal(actual(method, x, y, 0.5), expected(method, x, y, one_hot))


def test_more_exits_than_the_network_has_stages_are_refused():
    with pytest.raises(UserError, match="features of stage -4"):
        make("lmcl", exits=3)


def test_what_is_judged_needs_no_exit():
    method = make("lmcl").eval()
    x, _, _ = batch(method)
    whole = method.predict(method.outputs(x))
    del method.heads
    for name, logits in method.evaluate(x).items():
        assert torch.equal(logits, whole[name]), name
