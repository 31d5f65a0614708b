"""okdph, switokd and afd: the equations and what they do between steps, against plain loops."""

import pytest
import torch
from methods_compared import actual, assert_equal, gradients_of
from methods_plain import ce, kl, ramp, run, tiny_backbone
from test_method_equations import batch, make
from torch import nn

from kdzoo.errors import UserError
from kdzoo.methods.switokd import too_far_ahead
from kdzoo.testing import make_method


def plain_okdph(method, x, y, one_hot):
    """The hybrid network is a plain one whose weights are the mean; autograd does the rest."""
    config, count = method.config, method.peers.num_peers
    networks = [method.peers.network(p) for p in range(count)]
    students = run(networks, x[:-1], joint_trunk=False)
    hybrid = tiny_backbone().build(seed=0).double()
    for name in dict(hybrid.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        module = hybrid.get_submodule(owner)
        del module._parameters[leaf]
        mean = sum(dict(network.named_parameters())[name] for network in networks) / count
        setattr(module, leaf, mean)
    (z_h,) = run([hybrid], x[-1], joint_trunk=False).z
    target = ((sum(students.z) + z_h) / (count + 1)).detach()
    terms = {
        "ce": config.omega * sum(ce(z, one_hot) for z in students.z),
        "hybrid_ce": (1 - config.omega) * ce(z_h, one_hot),
        "kd": config.beta * sum(kl(target, z, config.temperature) for z in students.z),
    }
    sum(terms.values()).backward()
    gradients = {
        f"peers.peers.{p}.network.{name}": parameter.grad
        for p, network in enumerate(networks)
        for name, parameter in network.named_parameters()
    }
    return {name: term.item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize("settings", [{}, {"peers": 3, "omega": 0.3, "beta": 0.6}])
def test_okdph(settings):
    method = make("okdph", **settings)
    x, y, one_hot = batch(method)
    assert_equal(actual(method, x, y, 0.5), plain_okdph(method, x, y, one_hot))


def states(method) -> list[dict[str, torch.Tensor]]:
    return [
        {name: value.clone() for name, value in method.peers.state_of(p).items()}
        for p in range(method.peers.num_peers)
    ]


def scatter(method) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in [*method.peers.parameters(), *method.peers.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator))


def assert_fused(method, before, gamma) -> None:
    for state, old in zip(states(method), before, strict=True):
        for name, value in state.items():
            mean = sum(each[name] for each in before) / len(before)
            whole = not value.is_floating_point()
            wanted = old[name] if whole else gamma * mean + (1 - gamma) * old[name]
            torch.testing.assert_close(value, wanted)


def test_students_of_okdph_start_alike_and_the_mean_of_them_is_deployed():
    method = make_method("okdph", peers=3)
    first, *others = states(method)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    scatter(method)
    deployed = method.student().state_dict()
    for name, value in deployed.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, sum(s[name] for s in states(method)) / 3)


@pytest.mark.parametrize("gamma", [0.25, 1.0])
def test_students_of_okdph_meet_every_so_many_steps(gamma):
    method = make_method("okdph", gamma=gamma, interval=3)
    for step in range(1, 8):
        scatter(method)
        before = states(method)
        method.after_step()
        assert_fused(method, before, gamma if step % 3 == 0 else 0.0)
    before = states(method)
    method.after_epoch()
    assert_fused(method, before, 0.0)


def test_students_of_okdph_meet_after_every_epoch():
    method = make_method("okdph", gamma=0.5)
    scatter(method)
    before = states(method)
    method.after_step()
    assert_fused(method, before, 0.0)
    method.after_epoch()
    assert_fused(method, before, 0.5)


def test_every_network_of_okdph_sees_a_view_of_its_own():
    method = make_method("okdph", peers=2).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 3, 16, 16, generator=generator)
    scatter(method)
    with torch.no_grad():
        outputs = method.outputs(x)
        networks = [method.peers.network(0), method.peers.network(1), method.student()]
        alone = [network.eval()(view) for network, view in zip(networks, x, strict=True)]
    torch.testing.assert_close(outputs.logits, torch.stack(alone[:2]))
    torch.testing.assert_close(outputs.teachers[0], alone[2])


@pytest.mark.parametrize(
    ("teacher", "student", "expert"),
    [
        ([0.6, 0.4, 0.0], [0.3, 0.1, 0.6], True),  # gap 1.2; a 1.4, b 0.8, delta 0.844
        ([0.6, 0.4, 0.0], [0.5, 0.5, 0.0], False),  # gap 0.2; a 1.0, b 0.8, delta 0.487
        ([0.3, 0.1, 0.6], [0.6, 0.4, 0.0], False),  # gap 1.2; the student is the better one
        ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], False),  # nothing is left to learn
    ],
)
def test_the_teacher_waits_where_the_gap_is_above_the_threshold(teacher, student, expert):
    t, s = (torch.tensor([p, p]).clamp(min=1e-30).log() for p in (teacher, student))
    assert bool(too_far_ahead(t, s, torch.tensor([0, 0]))) is expert
    assert bool(too_far_ahead(t, s, torch.eye(3)[[0, 0]])) is expert


@pytest.mark.parametrize("expert", [True, False])
def test_a_teacher_that_waits_does_not_move_though_it_has_momentum(expert, monkeypatch):
    monkeypatch.setattr("kdzoo.methods.switokd.too_far_ahead", lambda *_: torch.tensor(waits))
    method = make_method("switokd")
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    for waits in (False, expert):
        before = states(method)
        method.before_step()
        x, y = torch.randn(6, 3, 16, 16, generator=generator), torch.arange(6) % 5
        terms = method(x, y, torch.tensor(0.5)).terms
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        method.after_step()
        if waits:
            assert terms["teacher_ce"] == terms["teacher_kd"] == 0
    parameters = [name for name, _ in method.peers.network(0).named_parameters()]
    teacher, student = states(method)
    same = [torch.equal(teacher[name], before[0][name]) for name in parameters]
    assert all(same) if expert else not any(same)
    assert not any(torch.equal(student[name], before[1][name]) for name in parameters)


def test_a_loop_that_does_not_say_when_a_step_begins_is_refused_a_step_back():
    method = make_method("switokd")
    method(torch.randn(6, 3, 16, 16), torch.arange(6) % 5, 0.5)
    with pytest.raises(UserError, match="before_step"):
        method.after_step()
    method.before_step()
    method.after_step()
    with pytest.raises(UserError, match="before_step"):
        method.after_step()


def plain_afd(method, x, one_hot, progress):
    config, count = method.config, method.peers.num_peers
    networks = [method.peers.network(p) for p in range(count)]
    branched = config.layout == "branched"
    peers = run(networks, x, joint_trunk=branched)
    transfers = [
        {name: p.detach().clone().requires_grad_() for name, p in one.named_parameters()}
        for one in method.transfers
    ]
    judges = [
        {name: p.detach().clone().requires_grad_() for name, p in one.named_parameters()}
        for one in method.discriminators
    ]

    def judged(f, weights):
        hidden = nn.functional.conv2d(f, weights["0.weight"], weights["0.bias"], padding=1)
        hidden = hidden - hidden.mean(dim=(1, 2, 3), keepdim=True)
        hidden = hidden / (hidden.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5).sqrt()
        hidden = hidden * weights["1.weight"][:, None, None] + weights["1.bias"][:, None, None]
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        maps = nn.functional.conv2d(hidden, weights["3.weight"], weights["3.bias"], padding=1)
        return 1 / (1 + torch.exp(-maps.mean(dim=(1, 2, 3))))

    said = [
        torch.einsum("oc,bchw->bohw", t["weight"][:, :, 0, 0], f) + t["bias"][:, None, None]
        for t, f in zip(transfers, peers.features, strict=True)
    ]
    ce_, kd, imitate, judge = 0, 0, 0, 0
    for i in range(count):
        ce_ += ce(peers.z[i], one_hot)
        for j in range(count):
            if j != i:
                kd += kl(peers.z[j].detach(), peers.z[i], config.temperature) / (count - 1)
        j = (i + 1) % count
        fixed = {name: p.detach() for name, p in judges[i].items()}
        imitate += ((1 - judged(said[i], fixed)) ** 2).mean()
        judge += ((1 - judged(said[j].detach(), judges[i])) ** 2).mean()
        judge += (judged(said[i].detach(), judges[i]) ** 2).mean()
    terms = {
        "ce": ce_,
        "kd": ramp(progress, config.ramp_up) * kd,
        "adversarial": config.adversarial * imitate,
        "discriminators": judge,
    }
    sum(terms.values()).backward()
    gradients = {}
    for kind, all_weights in (("transfers", transfers), ("discriminators", judges)):
        for i, weights in enumerate(all_weights):
            gradients |= {f"{kind}.{i}.{name}": p.grad for name, p in weights.items()}
    gradients |= gradients_of(method, networks)
    return {name: term.item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize(
    "settings",
    [{}, {"peers": 3, "adversarial": 0.3, "ramp_up": 0.5}, {"peers": 3, "layout": "branched"}],
)
def test_afd(settings):
    method = make("afd", **settings)
    x, y, one_hot = batch(method)
    assert_equal(actual(method, x, y, 0.3), plain_afd(method, x, one_hot, 0.3))


def test_discriminators_of_afd_learn_at_a_rate_of_their_own():
    method = make_method("afd", discriminator_lr=0.03)
    networks, judges = method.parameter_groups()
    assert {id(p) for p in judges["params"]} == {id(p) for p in method.discriminators.parameters()}
    assert judges["lr_scale"] == 0.03
    assert "lr_scale" not in networks
    every = [id(p) for group in (networks, judges) for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in method.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "part", "rate"),
    [
        ("afd", {"discriminator_lr": 0.25}, "discriminators", 0.05),
        ("ffsd", {"self_distillation": True, "decoder_lr": 0.5}, "decoders", 0.1),
        ("independent", {}, "aggregator", 0.2),
    ],
)
def test_an_optimiser_of_ones_own_is_given_every_rate(name, settings, part, rate):
    method = make_method(name, **settings)
    optimizer = torch.optim.SGD(method.optimizer_groups(lr=0.2), momentum=0.9)
    lr = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    own = set(getattr(method, part).parameters())
    trained = [p for p in method.parameters() if p.requires_grad]
    assert set(lr) == set(trained)
    assert all(lr[p] == pytest.approx(rate if p in own else 0.2) for p in trained)
