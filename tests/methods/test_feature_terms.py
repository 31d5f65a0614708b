"""kd with feature terms: values and gradients against plain loops, and what is refused."""

import pytest
import torch
from methods_plain import SIZE, K, batch_norm, ce, kl
from torch import nn

from kdzoo.api import create_method
from kdzoo.errors import UserError
from kdzoo.samples.negatives import Negatives


class Net(nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, width, 3, stride, 1), nn.Tanh())
        self.two = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.Tanh())
        self.fc = nn.Linear(2 * width, K)

    def forward(self, x):
        return self.fc(self.two(self.one(x)).mean((2, 3)))


def attended(maps, factor):
    """One sample's [C, h, w] averaged down by a factor, squared, summed and of length 1."""
    c, h, w = maps.shape
    small = maps.reshape(c, h // factor, factor, w // factor, factor).mean((2, 4))
    q = sum(channel**2 for channel in small).flatten()
    return q / (q**2).sum().sqrt()


def test_at():
    torch.manual_seed(0)
    student, teacher = Net(3, 2), Net(4, 1)
    method = create_method(
        "kd",
        student,
        K,
        input_size=SIZE,
        teacher=teacher,
        alpha=0.3,
        feature_terms=[
            {"name": "at", "weight": 0.7, "stages": ["one", "two"], "teacher_stages": [1, 2]}
        ],
    ).double()
    x, y = torch.randn(4, *SIZE).double(), torch.arange(4)
    terms = method(x, y, 0.5).terms
    plain, teacher = method.student(), teacher.double()
    s1, t1 = plain.one(x), teacher.one(x)
    s2, t2 = plain.two(s1), teacher.two(t1)
    at = 0
    for s, t in ((s1, t1), (s2, t2)):
        for b in range(4):
            off = attended(s[b], 1) - attended(t[b].detach(), 2)
            at += 0.7 * (off**2).mean() / 4
    check(method, terms, plain, teacher, x, y, "at", at)


def check(method, terms, plain, teacher, x, y, name, wanted_term, heads=()):
    """Values of all terms and gradients of the student and of the heads, against plain ones.

    ``heads`` are pairs of the path of one of the term's parameters and its plain copy.
    """
    sum(terms.values()).backward()
    z = plain(x)
    wanted = {
        "ce": 0.7 * ce(z, nn.functional.one_hot(y, K).double()),
        "kd": 0.3 * kl(teacher(x).detach(), z, 4.0),
        name: wanted_term,
    }
    torch.testing.assert_close(terms, wanted, rtol=1e-9, atol=1e-12)
    sum(wanted.values()).backward()
    found = dict(method.peers.peers[0].network.named_parameters())
    for name_, parameter in plain.named_parameters():
        torch.testing.assert_close(found[name_].grad, parameter.grad, rtol=1e-6, atol=1e-10)
    own = dict(method.feature_terms[name].named_parameters())
    assert own.keys() == dict(heads).keys()
    for path, parameter in heads:
        torch.testing.assert_close(own[path].grad, parameter.grad, rtol=1e-6, atol=1e-10)


def taught(term, samples=None):
    torch.manual_seed(0)
    student, teacher = Net(3, 2), Net(4, 1)
    method = create_method(
        "kd", student, K, input_size=SIZE, teacher=teacher, alpha=0.3, feature_terms=[term]
    )
    if samples:
        method.begin(samples=samples, epochs=2)
    return method.double().train(), teacher.double()


def copies(term):
    """The parameters of a term by their paths, as leaves of their own."""
    return {name: p.detach().clone().requires_grad_() for name, p in term.named_parameters()}


def of_length_1(rows):
    return torch.stack([row / (row**2).sum().sqrt() for row in rows])


SEEN = [0, 2, 3, 5, 7, 9]
INDEX = torch.tensor([4, 0, 9, 7])
"""The first of them comes for the first time."""


@pytest.mark.parametrize("step", [0, 3])
def test_crd(step):
    method, teacher = taught(
        {"name": "crd", "weight": 0.7, "width": 6, "negatives": 5, "tau": 0.2, "momentum": 0.3},
        samples=10,
    )
    term = method.feature_terms["crd"]
    z = torch.tensor([2.0, 3.0]).double()  # what was estimated in an earlier step
    classes = {sample: sample % 3 for sample in SEEN}
    for sample, k in classes.items():
        term.classes.rows[sample] = k + 1
    term.negatives.step.fill_(step)
    if step:
        term.log_z.copy_(z.log().view(2, 1, 1))
    x, y = torch.randn(4, *SIZE).double(), torch.tensor([1, 0, 0, 1])
    before = term.memory.rows.clone()
    terms = method(x, y, 0.5, INDEX).terms
    plain, heads = method.student(), copies(term)
    maps = plain.two(plain.one(x)), teacher.two(teacher.one(x)).detach()
    e = [
        of_length_1(h.mean((2, 3)) @ heads[f"{name}.weight"].T + heads[f"{name}.bias"])
        for name, h in zip(("project", "project_teacher"), maps, strict=True)
    ]
    known = torch.tensor([classes.get(sample, 9) for sample in range(10)]) + 1
    known[INDEX] = y + 1
    rewound = Negatives(5)
    rewound.load_state_dict(term.negatives.state_dict())
    rewound.step.fill_(step)
    drawn, _ = rewound.draw(INDEX, y + 1, known)
    assert all(known[n] != known[i] for i, row in zip(INDEX, drawn, strict=True) for n in row)
    loss = 0
    for one, other in ((0, 1), (1, 0)):
        scores = torch.stack(
            [
                torch.stack([torch.exp(e[one][b] @ before[n, other] / 0.2) for n in (i, *drawn[b])])
                for b, i in enumerate(INDEX.tolist())
            ]
        )
        constant = 10 * (z[one] if step else scores.detach().mean())
        for row in scores / constant:
            loss = loss - torch.log(row[0] / (row[0] + 5 / 10)) / 4
            loss = loss - torch.log(5 / 10 / (row[1:] + 5 / 10)).sum() / 4
        torch.testing.assert_close(10 * term.log_z[one, 0, 0].exp(), constant.to(torch.float64))
    check(method, terms, plain, teacher, x, y, "crd", 0.7 * loss, heads.items())
    for which in (0, 1):
        new = 0.3 * before[INDEX, which] + 0.7 * e[which].detach()
        torch.testing.assert_close(term.memory.rows[INDEX, which], of_length_1(new))
    assert term.classes.rows[INDEX].tolist() == (y + 1).tolist()
    assert term.negatives.step == step + 1


def test_what_crd_remembers_is_random_at_first_and_follows_from_the_seed():
    one, other = (taught("crd", samples=50)[0].feature_terms["crd"] for _ in range(2))
    rows = one.memory.rows
    assert torch.equal(rows, other.memory.rows)
    assert abs(rows.mean()) < 0.01
    assert abs(rows.square().sum(-1).mean() - 1) < 0.05


def test_in_evaluation_nothing_is_remembered():
    method, _ = taught("crd", samples=10)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method.eval()(torch.randn(4, *SIZE).double(), torch.arange(4), 0.5, INDEX)
    torch.testing.assert_close(method.state_dict(), before)


def convolved(x, weight, padding):
    """[B, C, h, w], pixel by pixel."""
    size = weight.shape[-1]
    B, _, h, w = x.shape
    x = nn.functional.pad(x, (padding,) * 4)
    rows = [
        [
            (x[:, None, :, i : i + size, j : j + size] * weight[None]).sum((2, 3, 4))
            for j in range(w)
        ]
        for i in range(h)
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2).reshape(B, -1, h, w)


def nearest(x, h, w):
    rows = [i * x.shape[2] // h for i in range(h)]
    columns = [j * x.shape[3] // w for j in range(w)]
    return x[:, :, rows][:, :, :, columns]


def hcl(s, t):
    """Of maps whose sides are powers of two."""
    loss, total, size = 0, 0, s.shape[-1]
    for side, weight in ((size, 1), (4, 1 / 2), (2, 1 / 4), (1, 1 / 8)):
        if side < size or weight == 1:
            small = [
                m.reshape(*m.shape[:2], side, size // side, side, size // side).mean((3, 5))
                for m in (s, t)
            ]
            loss, total = loss + weight * ((small[0] - small[1]) ** 2).mean(), total + weight
    return loss / total


def test_reviewkd():
    method, teacher = taught(
        {"name": "reviewkd", "weight": 0.7, "stages": [1, 2], "width": 5, "warm_up": 0.8}
    )
    x, y = torch.randn(4, *SIZE).double(), torch.arange(4)
    terms = method(x, y, 0.6).terms
    plain, heads = method.student(), copies(method.feature_terms["reviewkd"])
    s1, t1 = plain.one(x), teacher.one(x)
    s2, t2 = plain.two(s1), teacher.two(t1)
    student = [s2.mean((2, 3))[:, :, None, None], s2, s1]
    taught_by = [t.detach() for t in (t2.mean((2, 3))[:, :, None, None], t2, t1)]
    loss, fused = 0, None
    for n, (s, t) in enumerate(zip(student, taught_by, strict=True)):
        own = batch_norm(
            convolved(s, heads[f"narrow.{n}.0.weight"], 0),
            *(heads[f"narrow.{n}.1.{name}"] for name in ("weight", "bias")),
        )
        if n:
            deeper = nearest(fused, *own.shape[2:])
            seen = torch.cat([own, deeper], dim=1)
            weigh = [heads[f"fuse.{n - 1}.weigh.{name}"] for name in ("weight", "bias")]
            score = convolved(seen, weigh[0], 0) + weigh[1][:, None, None]
            a = 1 / (1 + torch.exp(-score))
            own = a[:, :1] * own + a[:, 1:] * deeper
        fused = nearest(own, *t.shape[2:])
        out = batch_norm(
            convolved(fused, heads[f"widen.{n}.0.weight"], 1),
            *(heads[f"widen.{n}.1.{name}"] for name in ("weight", "bias")),
        )
        loss = loss + 0.7 * 0.75 * hcl(out, t)
    check(method, terms, plain, teacher, x, y, "reviewkd", loss, heads.items())


def test_reviewkd_refuses_a_batch_of_one_sample():
    method, _ = taught({"name": "reviewkd", "stages": [1, 2]})
    with pytest.raises(UserError, match="batches of 2 samples"):
        method(torch.randn(1, *SIZE).double(), torch.zeros(1).long(), 0.5)
    with pytest.raises(UserError, match="batches of 2 samples"):
        method.check_one_sample()


def test_terms_that_look_at_no_maps_have_none_gathered():
    assert not taught("crd")[0].loss_sees_maps
    assert taught({"name": "reviewkd", "stages": [1]})[0].loss_sees_maps


@pytest.mark.parametrize(
    "wrong",
    [["at", "at"], [{"name": "at", "stages": [1, 2], "teacher_stages": [1]}], [{"stages": [9]}]],
)
def test_what_does_not_fit_is_refused(wrong):
    wrong = [{"name": "at", **one} if isinstance(one, dict) else one for one in wrong]
    with pytest.raises(UserError):
        create_method("kd", "resnet8", K, teacher=Net(3, 2), feature_terms=wrong)
