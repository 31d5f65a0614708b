"""kd with feature terms: values and gradients against plain loops, and what is refused."""

import pytest
import torch
from methods_plain import SIZE, K, ce, kl
from torch import nn

from kdzoo.api import create_method
from kdzoo.errors import UserError


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
    sum(terms.values()).backward()
    plain, teacher = method.student().double(), teacher.double()
    s1, t1 = plain.one(x), teacher.one(x)
    s2, t2 = plain.two(s1), teacher.two(t1)
    at = 0
    for s, t in ((s1, t1), (s2, t2)):
        for b in range(4):
            off = attended(s[b], 1) - attended(t[b].detach(), 2)
            at += 0.7 * (off**2).mean() / 4
    z = plain(x)
    wanted = {
        "ce": 0.7 * ce(z, nn.functional.one_hot(y, K).double()),
        "kd": 0.3 * kl(teacher(x).detach(), z, 4.0),
        "at": at,
    }
    torch.testing.assert_close(terms, wanted, rtol=1e-9, atol=1e-12)
    sum(wanted.values()).backward()
    found = dict(method.peers.peers[0].network.named_parameters())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [["at", "at"], [{"name": "at", "stages": [1, 2], "teacher_stages": [1]}], [{"stages": [9]}]],
)
def test_what_does_not_fit_is_refused(wrong):
    wrong = [{"name": "at", **one} if isinstance(one, dict) else one for one in wrong]
    with pytest.raises(UserError):
        create_method("kd", "resnet8", K, teacher=Net(3, 2), feature_terms=wrong)
