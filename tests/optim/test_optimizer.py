"""The optimisers: their settings and their groups of parameters."""

import copy

import pytest
import torch
from timm.optim import get_optimizer_class
from torch import nn

from kdzoo import registry
from kdzoo.backbones.create import as_backbone
from kdzoo.component import validate
from kdzoo.compose import compose
from kdzoo.errors import ConfigError, UserError
from kdzoo.methods.hooks import TrainingHooks
from kdzoo.optim.build import build_optimizer
from kdzoo.optim.optimizer import config_by_timm, optimizer_config, optimizer_names
from kdzoo.optim.schedule import Schedule


def build(*settings: str, backbone: str = "resnet8", method: str = "mbde"):
    config = compose([f"method={method}", f"backbone={backbone}", "method.peers=2", *settings])
    backbones = [as_backbone(one, 10, (3, 32, 32)) for one in config.backbones]
    built = registry.methods.get(method)(config.method, backbones)
    return built, build_optimizer(config.optimizer, built, 0.5)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_settings_reach_torch(name, kind):
    _, optimizer = build(f"optimizer={name}", "optimizer.weight_decay=0.25")
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0.25
    assert group["lr"] == 0.5


def test_the_default_is_the_papers_sgd():
    method, optimizer = build()
    plain = torch.optim.SGD(
        method.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    assert optimizer.state_dict() == plain.state_dict()
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [
        id(p) for p in plain.param_groups[0]["params"]
    ]


def test_what_needs_no_gradient_is_left_out():
    config = compose(["backbone=resnet8"])
    method, _ = build()
    first = next(method.parameters()).requires_grad_(False)
    optimizer = build_optimizer(config.optimizer, method, 0.5)
    assert all(p is not first for p in optimizer.param_groups[0]["params"])


def one_of_each_class() -> list[str]:
    """A name for each class that is installed; most classes go by several."""
    names = [name for name in optimizer_names() if not name.startswith(("bnb", "fused", "kron"))]
    return list({get_optimizer_class(name, bind_defaults=False): name for name in names}.values())


class Hooked(nn.Sequential, TrainingHooks):
    """A small network that is trained like a method."""


@pytest.mark.parametrize("name", one_of_each_class())
def test_every_optimizer_makes_a_step_with_its_own_defaults(name):
    config = validate(optimizer_config(name), {"name": name})
    assert validate(optimizer_config(name), config.model_dump(mode="json")) == config
    torch.manual_seed(0)
    method = Hooked(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(72, 4))
    before = copy.deepcopy(method.state_dict())
    optimizer = build_optimizer(config, method, 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        method(torch.randn(6, 3, 5, 5)).square().mean().backward()
        optimizer.step()
    changed = [not torch.equal(before[key], value) for key, value in method.state_dict().items()]
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert any(changed)


def test_a_setting_is_typed():
    config = compose(["optimizer=lamb", "optimizer.betas=[0.8, 0.95]"]).optimizer
    assert config.betas == (0.8, 0.95)
    for override in ("optimizer.betas=[0.8]", "optimizer.eps=small", "optimizer.weight_decay=-1"):
        with pytest.raises(ConfigError, match=override.split("=")[0].replace(".", r"\.")):
            compose(["optimizer=lamb", override])


def test_a_setting_of_another_optimizer_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"optimizer\.momentum: .*betas.*eps"):
        compose(["optimizer=adamw", "optimizer.momentum=0.9"])
    with pytest.raises(ConfigError, match=r"optimizer\.rho: .*momentum.*nesterov"):
        compose(["optimizer.rho=0.9"])


@pytest.mark.parametrize("name", ["fusedsgd", "adahessian", "bnbadam"])
def test_an_optimizer_that_cannot_be_used_is_refused(name):
    with pytest.raises(ConfigError, match=r"optimizer\.name"):
        compose([f"optimizer={name}"])


def test_norms_and_biases_are_left_out_of_the_decay_if_wanted():
    method, optimizer = build("optimizer.decay_norm_and_bias=false")
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == len(list(method.parameters()))
    for name, parameter in method.named_parameters():
        alone = parameter.ndim <= 1 or name.endswith(".bias")
        assert decay[id(parameter)] == (0 if alone else 5e-4), name


@pytest.mark.parametrize("layout", ["branched", "independent"])
def test_layers_of_every_peer_learn_at_decaying_rates(layout):
    method, optimizer = build(
        "optimizer.layer_decay=0.5", f"method.layout={layout}", backbone="timm/resnet10t"
    )
    scale = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    assert len(scale) == len(list(method.parameters()))
    of = {name: scale[id(p)] for name, p in method.named_parameters()}
    heads = {value for name, value in of.items() if not name.startswith("peers.")}
    classifiers = {value for name, value in of.items() if name.endswith("fc.weight")}
    assert heads | classifiers == {1.0}
    for peer in ("0", "1"):
        last = [v for n, v in of.items() if f".{peer}." in n and ".layer4." in f".{n}"]
        assert last
        assert set(last) == {0.5}
    stem = {v for n, v in of.items() if ".conv1." in f".{n}" and ".layer" not in n}
    assert stem == {0.5**5}


def test_the_parameters_that_a_network_spares_are_not_decayed():
    method, optimizer = build(
        "optimizer.decay_norm_and_bias=false",
        "backbone.kwargs.img_size=32",
        "backbone.kwargs.patch_size=8",
        "backbone.kwargs.depth=3",
        "method.layout=independent",
        backbone="timm/vit_tiny_patch16_224",
    )
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    positions = [p for name, p in method.named_parameters() if name.endswith("pos_embed")]
    assert [decay[id(p)] for p in positions] == [0, 0]


def test_layer_decay_is_refused_where_a_network_does_not_tell_its_layers():
    with pytest.raises(ConfigError, match=r"optimizer\.layer_decay.*:squeezenet1_1 .*timm/"):
        build("optimizer.layer_decay=0.5", backbone="torchvision.models:squeezenet1_1")


def test_our_own_networks_tell_their_layers():
    method, optimizer = build("optimizer.layer_decay=0.5", backbone="resnet14")
    scale = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    of = {name: scale[id(p)] for name, p in method.named_parameters()}
    blocks = ["layer2.1.conv2", "layer3.0.conv1", "layer3.1.bn2", "fc"]
    rates = [{v for n, v in of.items() if n.endswith(f"{block}.weight")} for block in blocks]
    assert rates == [{0.5**3}, {0.5**2}, {0.5}, {1.0}]


def test_a_names_config_is_one_class():
    assert optimizer_config("sgd") is optimizer_config("sgd")


def test_the_default_is_told_what_timm_tells_of_it():
    own, timms = (
        {
            name: (field.annotation, field.metadata, field.default)
            for name, field in config.model_fields.items()
        }
        for config in (optimizer_config("sgd"), config_by_timm("sgd"))
    )
    assert own == timms


class TwoRates(Hooked):
    """A network whose last layer learns slowly, and decays less."""

    def parameter_groups(self):
        return [
            {"params": list(self[:-1].parameters())},
            {"params": list(self[-1].parameters()), "lr_scale": 0.1, "weight_decay": 0.25},
        ]


def two_rates(**settings):
    config = validate(optimizer_config("sgd"), {"name": "sgd", "weight_decay": 0.5, **settings})
    method = TwoRates(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(72, 4))
    return method, build_optimizer(config, method, 0.8)


def test_groups_of_a_method_have_rates_and_decays_of_their_own_at_every_step():
    method, optimizer = two_rates()
    schedule = Schedule(compose(["schedule=multistep", "schedule.warmup=0"]).schedule, optimizer, 4)
    for step, rate in enumerate([0.8, 0.8, 0.08, 0.008]):
        schedule.set(step)
        first, second = optimizer.param_groups
        assert first["lr"] == pytest.approx(rate)
        assert second["lr"] == pytest.approx(0.1 * rate)
    assert (first["weight_decay"], second["weight_decay"]) == (0.5, 0.25)
    assert [id(p) for p in second["params"]] == [id(p) for p in method[-1].parameters()]


def test_a_step_is_that_of_torch_with_these_groups():
    method, optimizer = two_rates()
    twin = copy.deepcopy(method)
    plain = torch.optim.SGD(
        [
            {"params": list(twin[:-1].parameters()), "lr": 0.8, "weight_decay": 0.5},
            {"params": list(twin[-1].parameters()), "lr": 0.08, "weight_decay": 0.25},
        ],
        momentum=0.9,
        nesterov=True,
    )
    schedule = Schedule(compose(["schedule=constant", "schedule.warmup=0"]).schedule, optimizer, 3)
    x = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    for step in range(3):
        schedule.set(step)
        for each, stepper in ((method, optimizer), (twin, plain)):
            stepper.zero_grad()
            each(x).square().mean().backward()
            stepper.step()
    for ours, theirs in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_what_the_run_spares_from_decay_is_spared_in_every_group():
    method, _ = build()
    heads = list(method.aggregator.parameters())
    mine = {id(p) for p in heads}
    method.parameter_groups = lambda: [
        {"params": heads, "lr_scale": 0.1, "weight_decay": 0.25},
        {"params": [p for p in method.parameters() if id(p) not in mine]},
    ]
    config = compose(["optimizer.weight_decay=0.5", "optimizer.decay_norm_and_bias=false"])
    optimizer = build_optimizer(config.optimizer, method, 0.8)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == len(list(method.parameters()))
    for name, parameter in method.named_parameters():
        group, own = found[id(parameter)], id(parameter) in mine
        spared = parameter.ndim <= 1 or name.endswith(".bias")
        assert group["weight_decay"] == (0 if spared else 0.25 if own else 0.5), name
        assert group.get("lr_scale", 1) == (0.1 if own else 1), name


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        (lambda net: [{"params": list(net[0].parameters())}], r"2\.weight 0 times"),
        (lambda net: [{"params": list(net.parameters())}] * 2, r"0\.weight 2 times"),
        (
            lambda net: [{"params": [*net.parameters(), nn.Parameter(torch.zeros(1))]}],
            "not the method's",
        ),
        (lambda net: [{"params": list(net.parameters()), "lr": 1.0}], "sets lr; a group has"),
    ],
)
def test_groups_that_would_train_something_else_are_refused(groups, why):
    method = Hooked(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(72, 4))
    method.parameter_groups = lambda: groups(method)
    with pytest.raises(UserError, match=why):
        build_optimizer(compose([]).optimizer, method, 0.5)
