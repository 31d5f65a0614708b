"""FFSD's self-distillation against the equations, and what its decoders ask for."""

import pytest
import torch
from methods_compared import actual, assert_equal, expected, gradients_of
from methods_plain import SIZE, K, batch_norm, ramp, run, tiny_backbone
from methods_reference import apart, length, squared_map, turned_over
from torch import nn
from torch.nn import functional as F

from kdzoo.api import create_method
from kdzoo.component import validate
from kdzoo.errors import ConfigError
from kdzoo.methods.ffsd import FFSD, FFSDConfig
from kdzoo.optim.groups import check_groups
from kdzoo.testing import METHOD_CHECKS

WEIGHTS = {"diversity_weight": 0.5, "fusion_weight": 3.0, "decoder_weight": 20.0, "ramp_up": 0.5}


def make(**settings):
    given = {"name": "ffsd", "self_distillation": True, **WEIGHTS, **settings}
    method = FFSD(validate(FFSDConfig, given), [tiny_backbone()], 0).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator).double())
        for name, buffer in method.decoders.named_buffers():
            if name.endswith(("mean", "var")):
                drawn = torch.rand(buffer.shape, generator=generator).double()
                buffer.copy_(drawn / 10 - 0.05 if name.endswith("mean") else 0.05 + drawn)
    return method


def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, *SIZE, generator=generator, dtype=torch.float64)
    y = torch.randint(0, K, (6,), generator=generator)
    return x, y, F.one_hot(y, K).double()


def transposed(x, kernel):
    """A 3x3 transposed convolution of stride 2: every pixel adds its kernel to the larger map."""
    B, _, h, w = x.shape
    large = torch.zeros(B, kernel.shape[1], 2 * h + 1, 2 * w + 1, dtype=x.dtype)
    for i in range(h):
        for j in range(w):
            patch = torch.einsum("bc,ckij->bkij", x[:, :, i, j], kernel)
            place = F.pad(patch, (2 * j, 2 * (w - 1 - j), 2 * i, 2 * (h - 1 - i)))
            large = large + F.pad(place, (0, 2 * w + 1 - place.shape[3], 0, 0))
    return large[:, :, 1:, 1:]


def decoded(last, head, statistics):
    """The rebuilt maps, by the statistics of the batch where none are given."""
    maps, x = [], last
    for layer in range(2):
        x = transposed(x, head[f"ups.{layer}.weight"])
        gamma, beta = head[f"norms.{layer}.weight"], head[f"norms.{layer}.bias"]
        if statistics is None:
            x = batch_norm(x, gamma, beta)
        else:
            mean, variance = (statistics[f"norms.{layer}.running_{of}"] for of in ("mean", "var"))
            shape = (1, -1, 1, 1)
            x = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
            x = x * gamma.view(shape) + beta.view(shape)
        x = x.clamp(min=0)
        maps.append(x)
    return maps


def rows(features, squared=True):
    flat = squared_map(features) if squared else [sample.flatten() for sample in features]
    return [row / length(row) for row in flat]


def shifted(features):
    """The map that teaches a student's decoder: towards where the student before is not."""
    places = []
    for sample, row in zip(features, squared_map(features), strict=True):
        change = (turned_over(row) - row / length(row)) * length(row) / len(sample)
        places.append(sample + change.view(sample.shape[1:]))
    return torch.stack(places)


def with_self_distillation(method, x, y, progress):
    """Terms and gradients of the whole loss: those without, and those of the two terms more."""
    terms, gradients = expected(method, x, y, progress)
    config = method.config
    networks = [method.peers.network(p) for p in range(config.peers)]
    peers = run(networks, x, joint_trunk=config.layout == "branched")
    with torch.no_grad():
        fused = method.aggregate(method.peers(x)).stages["fused"][0]
    sources = [*map(shifted, [f.detach() for f in peers.features[:-2]]), fused]
    weights = [config.diversity_weight] * (config.peers - 2) + [config.fusion_weight]
    learn = rebuild = 0
    heads = []
    for i, (source, weight) in enumerate(zip(sources, weights, strict=True), start=1):
        decoder = method.decoders.networks[i - 1]
        head = {n: v.detach().clone().requires_grad_() for n, v in decoder.named_parameters()}
        heads.append(head)
        own = [peers.trunk[i], peers.early[i]]
        taught = decoded(
            source, {n: v.detach() for n, v in head.items()}, dict(decoder.named_buffers())
        )
        rebuilt = decoded(peers.features[i].detach(), head, None)
        for o, t, r in zip(own, taught, rebuilt, strict=True):
            learn += weight * apart(rows(o), rows(t))
            o = o.detach()
            rebuild += apart(rows(r), rows(o)) + apart(rows(r, False), rows(o, False))
    w = ramp(progress, config.ramp_up)
    more = {"self_distillation": w * learn, "decoders": w * config.decoder_weight * rebuild}
    for network in networks:  # the classifiers have nothing to do with it
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
    sum(more.values()).backward()
    added = gradients_of(method, networks)
    gradients = {n: g + added.get(n, 0) for n, g in gradients.items()}
    for i, head in enumerate(heads):
        gradients |= {f"decoders.networks.{i}.{n}": v.grad for n, v in head.items()}
    return {**terms, **{name: term.item() for name, term in more.items()}}, gradients


@pytest.mark.parametrize("settings", [{}, {"layout": "independent", "peers": 4}])
def test_terms_and_gradients_are_those_of_the_equations(settings):
    x, y, one_hot = batch()
    wanted = with_self_distillation(make(**settings), x, one_hot, 0.3)
    assert_equal(actual(make(**settings), x, y, 0.3), wanted)


@pytest.mark.parametrize("check", METHOD_CHECKS[:-1], ids=lambda check: check.__name__)
def test_contract(check):
    check("ffsd", self_distillation=True)


def test_decoders_have_a_group_of_their_own():
    method = make(decoder_lr=0.25)
    decoders = {id(parameter) for parameter in method.decoders.parameters()}
    own = [g for g in method.parameter_groups() if "lr_scale" in g]
    assert [g["lr_scale"] for g in own] == [0.25]
    assert {id(parameter) for parameter in own[0]["params"]} == decoders
    check_groups(method.parameter_groups(), method)


def test_nothing_is_rebuilt_in_evaluation():
    method = make().eval()
    before = {name: value.clone() for name, value in method.decoders.state_dict().items()}
    called = []
    method.decoders.register_forward_hook(lambda *args: called.append(1))
    said = method.evaluate(batch()[0])
    assert not called
    assert torch.equal(said["student"], method.predict(method.outputs(batch()[0]))["student"])
    assert called
    assert all(torch.equal(value, before[n]) for n, value in method.decoders.state_dict().items())


class Narrowing(nn.Module):
    """The second stage has maps a quarter as large as the first's."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.layer2 = nn.Sequential(nn.Conv2d(4, 4, 3, stride=4, padding=1), nn.BatchNorm2d(4))
        self.layer3 = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, K)

    def forward(self, x):
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("backbone", "settings", "message"),
    [
        (Narrowing, {}, r"method\.self_distillation: .*4x4 come after 16x16"),
        ("resnet8", {"rebuilt_stages": 3}, "stage -4 are asked for"),
        ("resnet8", {"aggregator": {"name": "fusion", "channels": 9}}, "have 64 channels"),
    ],
)
def test_what_decoders_cannot_rebuild_is_refused(backbone, settings, message):
    with pytest.raises(Exception, match=message) as refused:
        create_method(
            "ffsd", backbone, num_classes=K, input_size=SIZE, self_distillation=True, **settings
        )
    assert refused.type is ConfigError or "asked for" in str(refused.value)


def test_odd_sizes_are_rebuilt():
    method = create_method(
        "ffsd", "resnet8", num_classes=K, input_size=(3, 30, 30), self_distillation=True
    )
    stages = method.outputs(torch.randn(2, 3, 30, 30)).stages
    for key in method.stages:
        assert stages[f"rebuilt {key}"][0].shape == stages[key][1].shape
