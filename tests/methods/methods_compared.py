"""Terms and gradients of a method, as the plain equations have them and as kdzoo has them."""

import torch
from methods_plain import AGGREGATORS, REGULARIZERS, Peers, fused_map, run
from methods_reference import LOSSES, Setting, byot, leave, uskd
from torch import Tensor, nn

from kdzoo.methods.base import Method


def expected(
    method: Method, x: Tensor, y: Tensor, progress: float, held: bool = True
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Every term and, by the name of the parameter in ``method``, every gradient."""
    config, count = method.config, method.peers.num_peers
    networks = [method.peers.network(p) for p in range(count)]
    branched = config.layout == "branched"
    peers = run(networks, x, joint_trunk=branched)
    head = {
        name: value.detach().clone().requires_grad_()
        for name, value in method.aggregator.named_parameters()
    }
    teaching = peers.first(count - 1) if config.name in ("okddip", "ffsd") else peers
    if config.name == "ffsd":
        teaching.features = [f.detach() if held else f for f in teaching.features]
    targets, ensemble = AGGREGATORS[config.aggregator.name](teaching, head)
    setting = Setting(y, targets, ensemble, _teachers(method, x), config, progress, held)
    own = {}
    if config.name == "ffsd":
        setting.fused = fused_map(teaching, head)
        own["widen.weight"] = method.widen.weight.detach().clone().requires_grad_()
        setting.widen = own["widen.weight"]
    terms = LOSSES[config.name](peers, setting)
    for part in config.regularizers:
        form = "cd_cosine" if getattr(part, "form", "") == "cosine" else part.name
        terms[part.name] = part.weight * REGULARIZERS[form](teaching)
    sum(terms.values()).backward()
    gradients = {f"aggregator.{name}": value.grad for name, value in head.items()}
    gradients |= {name: value.grad for name, value in own.items()}
    shared = 1 / count if config.name == "cl_ilr" else 1.0

    def scale(name):
        return shared if branched and not name.startswith(("stage2", "fc")) else 1.0

    gradients |= gradients_of(method, networks, scale)
    return {name: term.item() for name, term in terms.items()}, gradients


def gradients_of(method, networks, scale=lambda name: 1.0):
    """The gradients of a method's peers, by the method's names, from plain networks like them.

    What several peers share has the sum; ``scale`` says what the gradient of a parameter counts.
    """
    gradients = {}
    owners = {p.data_ptr(): name for name, p in method.named_parameters()}
    for p, network in enumerate(networks):
        state = method.peers.state_of(p)
        for name, parameter in network.named_parameters():
            owner = owners[state[name].data_ptr()]
            gradients[owner] = gradients.get(owner, 0) + scale(name) * parameter.grad
    return gradients


def expected_byot(
    method: Method, x: Tensor, y: Tensor, held: bool = True
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """As ``expected``: two exits, after the first and the second stage, and the network's own."""
    network = method.peers.network(2)
    whole = run([network], x, joint_trunk=False)
    heads = [
        {n: v.detach().clone().requires_grad_() for n, v in leaves.named_parameters()}
        for leaves in method.peers.exits
    ]
    early = [leave(whole.early[0], heads[0]), leave(whole.trunk[0], heads[1])]
    peers = Peers(z=[z for _, z in early] + whole.z, h=[h for h, _ in early] + whole.h)
    terms = byot(peers, Setting(y, [], y, [], method.config, 0.5, held))
    sum(terms.values()).backward()
    gradients = {f"peers.trunk.network.{n}": v.grad for n, v in network.named_parameters()}
    for i, head in enumerate(heads):
        gradients |= {f"peers.exits.{i}.{n}": v.grad for n, v in head.items()}
    return {name: term.item() for name, term in terms.items()}, gradients


def expected_uskd(
    method: Method, x: Tensor, y: Tensor, held: bool = True
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """As ``expected``, with the weak classifier on the second stage of three."""
    network = method.peers.network(0)
    whole = run([network], x, joint_trunk=False)
    head = {n: v.detach().clone().requires_grad_() for n, v in method.weak.named_parameters()}
    pooled = [sample.mean(dim=(1, 2)) for sample in whole.trunk[0]]
    weak = torch.stack([head["weight"] @ row + head["bias"] for row in pooled])
    terms = uskd(whole.z[0], weak, y, method.config, held)
    sum(terms.values()).backward()
    gradients = {f"peers.peers.0.network.{n}": p.grad for n, p in network.named_parameters()}
    gradients |= {f"weak.{n}": v.grad for n, v in head.items()}
    return {name: term.item() for name, term in terms.items()}, gradients


def _teachers(method: Method, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        if method.config.name in ("pcl", "dkel"):
            means = [method.mean_peers.module.network(p) for p in range(method.peers.num_peers)]
            return run(means, x, joint_trunk=method.config.layout == "branched").z
        if method.config.name == "kd":
            teacher: nn.Module = method.teachers[0].network
            return [teacher(x)]
    return []


def actual(
    method: Method, x: Tensor, y: Tensor, progress: float
) -> tuple[dict[str, float], dict[str, Tensor]]:
    method.zero_grad()
    terms = method(x, y, torch.tensor(progress, dtype=torch.float64)).terms
    sum(terms.values()).backward()
    gradients = {name: p.grad for name, p in method.named_parameters() if p.requires_grad}
    return {name: term.item() for name, term in terms.items()}, gradients


def assert_equal(found, wanted, rtol: float = 1e-6) -> None:
    """Terms and gradients agree; a gradient relative to the largest of its tensor."""
    terms, gradients = found
    wanted_terms, wanted_gradients = wanted
    assert terms.keys() == wanted_terms.keys()
    for name, value in wanted_terms.items():
        assert abs(terms[name] - value) <= rtol * abs(value), (name, terms[name], value)
    assert gradients.keys() == wanted_gradients.keys()
    for name, gradient in wanted_gradients.items():
        off = (gradients[name] - gradient).abs().max()
        # A bias before a batch norm has no gradient but rounding errors.
        assert off <= rtol * gradient.abs().max() + 1e-14, (name, off, gradient.abs().max())
