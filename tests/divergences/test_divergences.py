"""Every divergence against its definition, written for one sample at a time, with gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo import registry
from kdzoo.component import validate
from kdzoo.divergences.base import standardized
from kdzoo.errors import ConfigError
from kdzoo.testing import make_method, train_step

NAMES = registry.divergences.names()


def make(name: str, temperature: float = 2.0, standardize: bool = False, **options):
    part = registry.divergences.get(name)
    return part(validate(part.Config, {"name": name, **options}), temperature, standardize)


def softmax(row, temperature=1.0):
    exponentials = [torch.exp(z / temperature) for z in row]
    total = sum(exponentials)
    return [one / total for one in exponentials]


def kl(p, q):
    return sum(a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True))


def without(row, target):
    return [z for k, z in enumerate(row) if k != target]


def pearson(p, q):
    mean_p, mean_q = sum(p) / len(p), sum(q) / len(q)
    p, q = [a - mean_p for a in p], [b - mean_q for b in q]
    top = sum(a * b for a, b in zip(p, q, strict=True))
    return top / torch.sqrt(sum(a * a for a in p) * sum(b * b for b in q))


def plain_kl(t, s, y, T):
    return T**2 * sum(kl(softmax(a, T), softmax(b, T)) for a, b in zip(t, s, strict=True)) / len(y)


def plain_reverse_kl(t, s, y, T):
    return plain_kl(s, t, y, T)


def plain_js(t, s, y, T):
    total = 0
    for a, b in zip(t, s, strict=True):
        p, q = softmax(a, T), softmax(b, T)
        mean = [(one + other) / 2 for one, other in zip(p, q, strict=True)]
        total = total + (kl(p, mean) + kl(q, mean)) / 2
    return T**2 * total / len(y)


def plain_dkd(t, s, y, T, alpha=1.0, beta=8.0):
    total = 0
    for a, b, k in zip(t, s, y.tolist(), strict=True):
        p, q = softmax(a, T), softmax(b, T)
        target = kl([p[k], 1 - p[k]], [q[k], 1 - q[k]])
        among = kl(softmax(without(a, k), T), softmax(without(b, k), T))
        total = total + alpha * target + beta * among
    return T**2 * total / len(y)


def plain_nkd(t, s, y, T, gamma=1.5):
    total = 0
    for a, b, k in zip(t.detach(), s, y.tolist(), strict=True):
        total = total - softmax(a)[k] * torch.log(softmax(b)[k])
        p, q = softmax(without(a, k), T), softmax(without(b, k), T)
        total = total - gamma * T**2 * sum(x * torch.log(z) for x, z in zip(p, q, strict=True))
    return total / len(y)


def plain_dist(t, s, y, T, beta=1.0, gamma=1.0):
    p = torch.stack([torch.stack(softmax(row, T)) for row in t])
    q = torch.stack([torch.stack(softmax(row, T)) for row in s])
    rows = sum(1 - pearson(a, b) for a, b in zip(p, q, strict=True)) / len(p)
    columns = sum(1 - pearson(a, b) for a, b in zip(p.T, q.T, strict=True)) / p.shape[1]
    return T**2 * (beta * rows + gamma * columns)


PLAIN = {
    "kl": plain_kl,
    "reverse_kl": plain_reverse_kl,
    "js": plain_js,
    "dkd": plain_dkd,
    "nkd": plain_nkd,
    "dist": plain_dist,
}


def plain_standardized(z):
    rows = []
    for row in z:
        mean = sum(row) / len(row)
        deviation = torch.sqrt(sum((one - mean) ** 2 for one in row) / (len(row) - 1))
        rows.append(torch.stack([(one - mean) / (1e-7 + deviation) for one in row]))
    return torch.stack(rows)


def draw(seed: int, *shape: int):
    generator = torch.Generator().manual_seed(seed)
    t, s = (3 * torch.randn(*shape, generator=generator).double() for _ in range(2))
    y = torch.randint(0, shape[-1], (shape[-2],), generator=generator)
    return t.requires_grad_(), s.requires_grad_(), y


def with_gradients(loss, *inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    pairs = zip(found, inputs, strict=True)
    return loss.item(), [torch.zeros_like(one) if g is None else g for g, one in pairs]


def test_every_divergence_has_its_definition_here():
    assert {*PLAIN} == {*NAMES}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(2, 4), st.integers(3, 5)),
    temperature=st.floats(0.5, 8),
)
def test_it_is_its_definition(name, standardize, seed, size, temperature):
    t, s, y = draw(seed, *size)
    found = with_gradients(make(name, temperature, standardize)(t, s, y), t, s)
    ours = plain_standardized if standardize else (lambda z: z)
    wanted = with_gradients(PLAIN[name](ours(t), ours(s), y, temperature), t, s)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6, abs=1e-12)
    for one, other in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "options"),
    [("dkd", {"alpha": 0.5, "beta": 2.0}), ("nkd", {"gamma": 3.5}), ("dist", {"beta": 2.0})],
)
def test_its_settings_are_the_weights_of_the_definition(name, options):
    t, s, y = draw(0, 4, 5)
    found = make(name, 3.0, **options)(t, s, y).item()
    assert found == pytest.approx(PLAIN[name](t, s, y, 3.0, **options).item())
    assert found != pytest.approx(PLAIN[name](t, s, y, 3.0).item())


@pytest.mark.parametrize("name", NAMES)
def test_over_peers_it_is_the_sum(name):
    t, s, y = draw(1, 3, 4, 5)
    part = make(name)
    wanted = sum(part(one, other, y) for one, other in zip(t, s, strict=True))
    torch.testing.assert_close(part(t, s, y), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_every_student_is_taught_by_each_of_the_others(name):
    t, s, y = draw(2, 3, 4, 5)
    part = make(name)
    wanted = sum(part(t[j], s[i], y) / 2 for i in range(3) for j in range(3) if j != i)
    torch.testing.assert_close(part.from_others(t, s, y), wanted)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "nkd"])
def test_it_is_zero_where_both_say_the_same_and_positive_else(name):
    t, s, y = draw(3, 4, 5)
    assert make(name)(t, t, y).item() == pytest.approx(0, abs=1e-12)
    assert make(name)(t, s, y) > 0


@pytest.mark.parametrize("name", ["dkd", "nkd"])
def test_of_probabilities_the_most_probable_class_is_the_target(name):
    t, s, y = draw(4, 4, 5)
    smooth = torch.nn.functional.one_hot(y, 5) * 0.9 + 0.02
    torch.testing.assert_close(make(name)(t, s, smooth), make(name)(t, s, y))


def test_kl_is_decoupled_into_two_parts():
    """The paper's equation 7, which DKD is a change of."""
    t, s, y = draw(5, 6, 4)
    rest = 1 - t.div(2).softmax(1).gather(1, y[:, None]).squeeze(1)
    one = [slice(b, b + 1) for b in range(6)]
    binary = [make("dkd", beta=0.0)(t[b], s[b], y[b]) for b in one]
    among = [make("dkd", alpha=0.0, beta=1.0)(t[b], s[b], y[b]) for b in one]
    whole = sum(a + p * n for a, p, n in zip(binary, rest, among, strict=True)) / 6
    torch.testing.assert_close(make("kl")(t, s, y), whole)


def test_standardized_logits_have_one_mean_and_one_deviation():
    z = standardized(5 + 7 * torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(z.mean(-1), torch.zeros(3, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(-1), torch.ones(3, 4))


@pytest.mark.parametrize("name", NAMES)
def test_logits_that_are_all_the_same_leave_finite_gradients(name):
    """As those of a network whose classifier begins with zeros."""
    s = torch.zeros(4, 5, requires_grad=True)
    t, _, y = draw(6, 4, 5)
    make(name, standardize=True)(t.detach().float(), s, y).backward()
    assert s.grad.isfinite().all()


TAKE_IT = [
    name
    for name in registry.methods.names()
    if "divergence" in registry.methods.get_config(name).model_fields
]


WITH_LOGITS = {"mcl": {"logits": True}}
"""What methods are to be told so that they compare distributions at all."""


def of_a_step(method: str, **chosen) -> tuple[dict[str, float], torch.Tensor]:
    """The terms that divergences have no part in, and the gradient of all peers."""
    built = make_method(method, **chosen, **WITH_LOGITS.get(method, {}))
    if method == "dlb":  # as if it had said something a step before
        torch.manual_seed(0)
        built.memory.rows.normal_()
    terms = train_step(built).terms
    sum(terms.values()).backward()
    others = {term: value.item() for term, value in terms.items() if "kd" not in term}
    others.pop("shadow_mse", None)  # a distance of logits, which standardize is of, too
    return others, torch.cat([parameter.grad.flatten() for parameter in built.peers.parameters()])


@pytest.mark.parametrize("method", TAKE_IT)
def test_every_method_that_compares_distributions_takes_each(method):
    others, gradient = of_a_step(method)
    for name in NAMES:
        same, changed = of_a_step(method, divergence=name)
        assert same == others
        assert torch.equal(changed, gradient) is (name == "kl")
    same, changed = of_a_step(method, standardize=True)
    assert same == others
    assert not torch.allclose(changed, gradient)


def test_a_divergence_that_there_is_not_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"no divergence 'dkt'.*dkd"):
        make_method("one", divergence="dkt")
