"""Layer-wise mutual contrastive learning against its equations, pair of exits by pair of exits."""

import copy
from itertools import product

import pytest
import torch
from methods_compared import actual, assert_equal
from methods_plain import ce, kl, probabilities, run, tiny_backbone
from methods_reference import contrast, leave, two_layers
from test_method_equations import batch, make

from kdzoo.errors import UserError

LR = 0.3
"""Of meta steps: so large that what comes of them is no rounding."""


def plain_heads(heads):
    """The weights of a module's parts, free of it, by their names in it."""
    return {name: p.detach().clone().requires_grad_() for name, p in heads.named_parameters()}


def under(weights, prefix):
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


def exits_of(config, networks, weights, x):
    """By (network, exit): embeddings, what is compared of them, logits; the weighted sums."""
    plain = run(networks, x, joint_trunk=False)
    count = config.exits + 1
    h, e, z, aggregated = {}, {}, {}, []
    for i in range(config.peers):
        for k, early in enumerate((plain.early[i], plain.trunk[i])[-config.exits :]):
            h[i, k], z[i, k] = leave(early, under(weights, f"{i}.exits.{k}."))
        h[i, count - 1], z[i, count - 1] = plain.h[i], plain.z[i]
        rows = []
        together = torch.cat([h[i, k] for k in range(count)], dim=1)
        scores = two_layers(together, under(weights, f"{i}.gate."))
        for b, score in enumerate(scores):
            share = probabilities(score)
            rows.append(sum(share[k] * z[i, k][b] for k in range(count)))
        aggregated.append(torch.stack(rows))
        for k in range(count):
            e[i, k] = units(two_layers(h[i, k], under(weights, f"{i}.projections.{k}.")))
    return h, e, z, aggregated


def units(rows):
    return torch.stack([row / (row**2).sum().sqrt() for row in rows])


def pair_terms(config, e, classes, counts=None, held=True):
    """The contrastive terms, pair by pair; ``counts`` [B] of a pair, that of its two places."""
    hold = torch.detach if held else (lambda tensor: tensor)
    T = config.temperature

    def kl_of(teacher, student, count):
        rows = [kl(t[None], s[None], T) for t, s in zip(teacher, student, strict=True)]
        return sum(c * row for c, row in zip(count, rows, strict=True)) / len(rows)

    terms = dict.fromkeys(("vcl", "icl", "soft_vcl", "soft_icl"), 0)
    for one, other in product(e, e):
        if one[0] >= other[0]:
            continue
        a, b = e[one], e[other]
        count = [1] * len(classes) if counts is None else counts(one, other)
        ab, ba, aa, bb = (s @ t.T / config.tau for s, t in ((a, b), (b, a), (a, a), (b, b)))
        alpha, gamma = config.alpha, config.gamma
        terms["vcl"] += alpha * (contrast(aa, classes, count) + contrast(bb, classes, count))
        terms["icl"] += alpha * (contrast(ab, classes, count) + contrast(ba, classes, count))
        terms["soft_vcl"] += gamma * (kl_of(hold(bb), aa, count) + kl_of(hold(aa), bb, count))
        terms["soft_icl"] += gamma * (kl_of(hold(ba), ab, count) + kl_of(hold(ab), ba, count))
    return terms


def counts_of(maps, h):
    """Twice the sigmoid of the cosine of two embeddings as they are mapped, for each sample."""
    p = {
        (i, k): units(rows @ maps[f"{i}.{k}.weight"].T + maps[f"{i}.{k}.bias"])
        for (i, k), rows in h.items()
    }
    return lambda one, other: [
        2 / (1 + torch.exp(-(a * b).sum())) for a, b in zip(p[one], p[other], strict=True)
    ]


def expected(method, x, y, one_hot, held=True):
    hold = torch.detach if held else (lambda tensor: tensor)
    config, peers = method.config, method.config.peers
    networks = [method.peers.network(p) for p in range(peers)]
    weights = plain_heads(method.heads)
    h, e, z, aggregated = exits_of(config, networks, weights, x)
    counts = None
    if config.meta_every is not None:
        seen = {place: hold(rows) for place, rows in h.items()}
        counts = counts_of(dict(method.pair_maps.named_parameters()), seen)
    terms = pair_terms(config, e, y.tolist(), counts, held)
    terms["ce"] = sum(ce(logits, one_hot) for logits in z.values())
    terms["ensemble_ce"] = sum(ce(logits, one_hot) for logits in aggregated)
    terms["kd"] = sum(
        kl(hold(a), z[i, config.exits], config.temperature)
        for i in range(peers)
        for a in aggregated
    )
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
    [
        {},
        {"peers": 3},
        {"meta_every": 50, "exits": 1},
        {"alpha": 0.3, "gamma": 0.5, "tau": 0.4, "width": 7, "temperature": 2.0},
    ],
)
def test_terms_and_gradients_are_those_of_the_equations(settings):
    method = make("lmcl", **settings)
    x, y, one_hot = batch(method)
    found = actual(method, x, y, 0.5)
    found = found[0], {name: g for name, g in found[1].items() if g is not None}
    assert_equal(found, expected(method, x, y, one_hot))
    with pytest.raises(AssertionError):
        assert_equal(found, expected(method, x, y, one_hot, held=False))


def plain_meta_gradient(method, x, y, one_hot):
    """By the weight's name: autograd through all that a meta step looks ahead to."""
    config, peers = method.config, method.config.peers
    w, heads = {}, plain_heads(method.heads)
    for p in range(peers):
        own = method.peers.network(p).named_parameters()
        w |= {(p, name): value.detach().clone().requires_grad_() for name, value in own}
    w |= heads
    maps = plain_heads(method.pair_maps)

    def exits(w):
        networks = []
        for p in range(peers):
            network = copy.deepcopy(method.peers.network(p))
            for name, _ in list(network.named_parameters()):
                owner, _, leaf = name.rpartition(".")
                del network.get_submodule(owner)._parameters[leaf]
                setattr(network.get_submodule(owner), leaf, w[p, name])
            networks.append(network)
        return exits_of(config, networks, {n: w[n] for n in heads}, x)

    def contrastive(w):
        h, e, _, _ = exits(w)
        return sum(pair_terms(config, e, y.tolist(), counts_of(maps, h)).values())

    def labels(w):
        return sum(ce(z, one_hot) for z in exits(w)[2].values())

    v = {name: 0 for name in w}
    for objective in [contrastive] * config.meta_steps + [labels]:
        g = torch.autograd.grad(objective(w), [*w.values()], create_graph=True, allow_unused=True)
        g = {name: 0 if one is None else one for name, one in zip(w, g, strict=True)}
        v = {name: 0.9 * v[name] + g[name] + 5e-4 * w[name] for name in w}
        w = {name: w[name] - LR * v[name] for name in w}
    return dict(zip(maps, torch.autograd.grad(labels(w), [*maps.values()]), strict=True))


@pytest.mark.parametrize(("meta_steps", "times"), [(2, 1), (1, 2)])
def test_a_meta_step_goes_down_the_gradient_through_the_steps_ahead(meta_steps, times):
    method = make("lmcl", meta_every=1, meta_steps=meta_steps, exits=1, tau=0.5)
    x, y, one_hot = batch(method)
    velocity = {name: value.clone() for name, value in method.velocity.named_parameters()}
    for _ in range(times):
        before = {name: value.clone() for name, value in method.state_dict().items()}
        gradients = plain_meta_gradient(method, x, y, one_hot)
        largest = max(float(gradient.abs().max()) for gradient in gradients.values())
        assert largest > 1e-6
        changed = method.meta_step(x, y, LR)
        for name, value in method.pair_maps.named_parameters():
            was = before.pop(f"pair_maps.{name}")
            slope = gradients[name] + 5e-4 * was
            velocity[name] = 0.9 * velocity[name] + slope
            wanted = was - LR * (slope + 0.9 * velocity[name])
            torch.testing.assert_close(value, wanted, rtol=0, atol=1e-6 * LR * largest)
            moment = method.velocity.get_parameter(name)
            torch.testing.assert_close(moment, velocity[name], rtol=0, atol=1e-6 * largest)
            before.pop(f"velocity.{name}")
            assert any(value is one for one in changed)
            assert any(moment is one for one in changed)
        assert before  # networks, heads and the statistics of batch norm
        assert all(torch.equal(method.state_dict()[name], was) for name, was in before.items())
        assert all(p.grad is None for p in method.parameters())


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
