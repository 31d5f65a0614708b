"""Every setting of every optimiser and schedule: what is no use is refused, by name."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.optim import create_optimizer_v2, get_optimizer_class
from torch import nn

from kdzoo.component import validate
from kdzoo.compose import compose
from kdzoo.errors import ConfigError
from kdzoo.methods.hooks import TrainingHooks
from kdzoo.optim.build import build_optimizer
from kdzoo.optim.optimizer import (
    OptimizerConfig,
    optimizer_config,
    optimizer_names,
)
from kdzoo.optim.schedule import SCHEDULES, Schedule, schedule_config

NAMES = [name for name in optimizer_names() if not name.startswith(("bnb", "fused"))]
ONE_OF_EACH = sorted({get_optimizer_class(one, bind_defaults=False): one for one in NAMES}.values())


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("sgd", "momentum=5"),
        ("sgd", "momentum=1"),
        ("sgd", "momentum=0"),  # with Nesterov's, which is the default
        ("sgd", "dampening=0.5"),
        ("sgd", "dampening=-1"),
        ("sgd", "weight_decay=-1"),
        ("sgd", "weight_decay=1e300"),
        ("sgd", "layer_decay=2"),
        ("lamb", "betas=[2,3]"),
        ("lamb", "betas=[0.9]"),
        ("lamb", "betas=[0.9,0.9,0.9]"),
        ("lamb", "betas=[0.9,nan]"),
        ("lamb", "betas=0.9"),
        ("lamb", "max_grad_norm=-1"),
        ("adan", "betas=[0.9,0.9,1]"),
        ("adamw", "eps=0"),
        ("adamw", "eps=inf"),
        ("adafactor", "betas=[0.9,1]"),
        ("adafactor", "decay_rate=0.8"),
        ("adafactor", "warmup_init=true"),
        ("adafactorbv", "decay_rate=-0.8"),
        ("rmsprop", "alpha=1.5"),
        ("muon", "adjust_lr_fn=foo"),
        ("muon", "ns_coefficients=foo"),
        ("muon", "conv_mode=foo"),
        ("muon", "ns_steps=0"),
        ("mars", "mars_type=foo"),
        ("kron", "memory_save_mode=foo"),
        ("kron", "preconditioner_update_probability=2"),
        ("kron", "mu_dtype=3"),
    ],
)
def test_what_is_no_use_is_refused_by_name(name, setting):
    key = setting.split("=")[0]
    assert refusal(f"optimizer={name}", f"optimizer.{setting}").startswith(f"optimizer.{key}")


def test_a_combination_that_an_optimizer_refuses_is_named_with_what_helps():
    assert "nesterov=false" in refusal("optimizer.momentum=0")
    assert compose(["optimizer.momentum=0", "optimizer.nesterov=false"]).optimizer.momentum == 0


@pytest.mark.parametrize("name", ["adafactor", "cadafactor"])
@pytest.mark.parametrize("setting", ["scale_parameter=false", "eps_scale=0.1", "warmup_init=true"])
def test_adafactor_has_no_settings_of_a_rate_of_its_own(name, setting):
    key = setting.split("=")[0]
    said = refusal(f"optimizer={name}", f"optimizer.{setting}")
    assert said.startswith(f"optimizer.{key}: There is no such setting.")


def weights_after(name: str, unchecked: dict[str, Any] | None = None, **own) -> torch.Tensor:
    """Weights of all shapes that optimisers tell apart, after steps at a falling rate.

    Args:
        name: of the optimiser.
        unchecked: settings that timm is told in spite of what kdzoo takes.
        own: those that kdzoo takes.
    """
    config = validate(optimizer_config(name), {"name": name, "weight_decay": 0.05, **own})
    told = {**config.own_settings(), **(unchecked or {})}
    generator = torch.Generator().manual_seed(0)
    shapes = (17,), (17, 33), (17, 17, 3, 3), (17, 1, 3, 3)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    optimizer = create_optimizer_v2(weights, opt=name, lr=0.01, **told)
    torch.manual_seed(0)
    steps = 3 if name == "kron" else 12  # its steps take long
    with torch.compiler.set_stance("force_eager"):
        for step in range(steps):
            for weight in weights:
                noise = torch.randn(weight.shape, generator=generator)
                weight.grad = noise + 0.3 * weight.detach()
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (1 - step / steps)
            optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.parametrize(
    ("name", "setting", "without", "needs"),
    [
        ("adabelief", {"degenerated_to_sgd": False}, {}, {"rectify": True}),
        ("adabelief", {"fixed_decay": True}, {"decoupled_decay": False}, {}),
        ("radabelief", {"amsgrad": True}, {}, {"rectify": False}),
        ("adafactor", {"caution": True}, {}, {"betas": (0.9, 0.99)}),
        ("adafactorbv", {"caution": True}, {"momentum": 0}, {}),
        ("adopt", {"corrected_weight_decay": True}, {}, {"decoupled": True}),
        ("lamb", {"corrected_weight_decay": True}, {}, {"decoupled_decay": True}),
        ("novograd", {"corrected_weight_decay": True}, {}, {"decoupled_decay": True}),
        ("rmsproptf", {"corrected_weight_decay": True}, {}, {"decoupled_decay": True}),
        ("rmsproptf", {"lr_in_momentum": False}, {"momentum": 0}, {}),
        ("rmsproptf", {"caution": True}, {"momentum": 0}, {}),
        ("sgd", {"dampening": 0.5}, {"momentum": 0, "nesterov": False}, {"nesterov": False}),
        ("lars", {"dampening": 0.5}, {"momentum": 0}, {}),
        ("sgdp", {"caution": True}, {"momentum": 0}, {}),
        ("sgdw", {"caution": True}, {"momentum": 0, "nesterov": False}, {}),
        ("mars", {"lr_1d_factor": 0.5}, {"optimize_1d": True}, {}),
        ("mars", {"betas_1d": (0.5, 0.5)}, {"optimize_1d": True}, {}),
        ("muon", {"normalize_spatial": False}, {}, {"conv_mode": "batched"}),
        ("muon", {"fallback_lr_scale": 0.5}, {"adamw_lr": 0.1}, {}),
        ("kron", {"flatten_start_dim": 1}, {}, {"flatten": True}),
        ("kron", {"corrected_weight_decay": True}, {}, {"decoupled_decay": True}),
        ("kron", {"momentum_into_precond_update": False}, {"momentum": 0}, {}),
    ],
)
def test_a_setting_is_refused_where_it_would_change_nothing_and_there_alone(
    name, setting, without, needs
):
    (key,) = setting
    with pytest.raises(ConfigError, match=rf"{name} makes nothing of it .*optimizer\.") as caught:
        validate(optimizer_config(name), {"name": name, **without, **setting})
    assert caught.value.where == (key,)
    assert not torch.equal(weights_after(name, **needs, **setting), weights_after(name, **needs))
    in_vain = weights_after(name, unchecked=setting, **without)
    assert torch.equal(in_vain, weights_after(name, **without))


HARDLY = {"scale_eps", "always_adapt", "trust_clip"}
"""What changes something for some weights alone."""


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if "kron" not in name])
def test_every_switch_of_an_optimizer_switches_something_or_is_refused(name):
    plain = weights_after(name)
    for key, field in optimizer_config(name).model_fields.items():
        if isinstance(field.default, bool) and key not in {"decay_norm_and_bias", *HARDLY}:
            try:
                heard = not torch.equal(weights_after(name, **{key: not field.default}), plain)
            except ConfigError as error:
                heard = error.where == (key,)
            assert heard, key


def test_settings_of_any_size_that_are_meant_are_taken():
    lamb = compose(["optimizer=lamb", "optimizer.max_grad_norm=none", "optimizer.betas=[0,0.5]"])
    assert lamb.optimizer.max_grad_norm is None
    assert lamb.optimizer.betas == (0, 0.5)
    muon = compose(["optimizer=muon", "optimizer.ns_coefficients=[3,-4,2]"]).optimizer
    assert muon.ns_coefficients == (3, -4, 2)


def test_composing_draws_no_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    compose(["optimizer=kron", "optimizer.momentum=0.5"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_config_can_be_composed_in_inference_mode():
    with torch.inference_mode():
        assert compose(["optimizer.momentum=0.5"]).optimizer.momentum == 0.5


NUMBERS = st.one_of(
    st.floats(),
    st.floats(0, 1),
    st.integers(-3, 40),
    st.sampled_from([0, 1, -1, 1e-300, 1e-45, 1e38, 1e300, 10**400]),
)
VALUES = st.one_of(
    NUMBERS,
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.lists(NUMBERS, max_size=4),
)


class Hooked(nn.Sequential, TrainingHooks):
    """A small network that is trained like a method."""


@given(st.data())
@settings(max_examples=100)
def test_any_settings_of_an_optimizer_make_steps_or_are_refused_by_name(data):
    name = data.draw(st.sampled_from(ONE_OF_EACH))
    fields = optimizer_config(name).model_fields
    own = sorted(fields.keys() - {"name"})
    key = data.draw(st.sampled_from(own))
    try:
        config: OptimizerConfig = validate(
            optimizer_config(name), {"name": name, key: data.draw(VALUES)}
        )
    except ConfigError as error:
        where = error.where
    else:
        where = ()
    if where:
        assert where[0] == key
        return
    method = Hooked(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(144, 16))
    if config.layer_decay is not None or not config.decay_norm_and_bias:
        return  # which need a method
    optimizer = build_optimizer(config, method, 0.01)
    with torch.compiler.set_stance("force_eager"):
        for _ in range(2):
            optimizer.zero_grad()
            method(torch.randn(4, 3, 5, 5)).square().mean().backward()
            optimizer.step()
    assert validate(optimizer_config(name), config.model_dump(mode="json")) == config


@given(st.data(), st.integers(1, 300))
def test_any_settings_of_a_schedule_give_rates_below_the_highest_or_are_refused(data, steps):
    name = data.draw(st.sampled_from(sorted(SCHEDULES)))
    config_class = schedule_config(name)
    keys = sorted(config_class.model_fields.keys() - {"name"})
    chosen = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, max_size=2))
    try:
        config = compose(settings={"lr": 0.5, "schedule": {"name": name, **chosen}}).schedule
    except ConfigError as error:
        where = error.where
    else:
        where = ()
    if where:
        assert where[0] == "schedule"
        assert where[1] in chosen
        return
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = Schedule(config, optimizer, steps)
    for step in range(steps):
        schedule.set(step)
        rate = optimizer.param_groups[0]["lr"]
        assert math.isfinite(rate)
        assert -1e-12 <= rate <= 0.5 + 1e-12


@pytest.mark.parametrize(
    "setting",
    [
        "schedule.min_lr=5",  # above lr
        "schedule.k_decay=1000",
        "schedule.cycles=10000000",
        "schedule.cycle_decay=1.5",
        "schedule.warmup=5",
        "lr=1e39",
        "lr=1e-320",
        "training.clip_norm=1e-320",
        "method.temperature=1e300",
        "epochs=10000000000",
        "seed=9223372036854775808",
        "seed=-1",
        "batch_size=10000000000",
    ],
)
def test_a_number_beyond_all_use_is_refused_by_name(setting):
    assert refusal("schedule=cosine", setting).startswith(setting.split("=")[0])


def test_what_is_no_group_of_settings_is_told_from_one():
    assert "training.steps=VALUE" in refusal("training=3")
    assert "'threads: 1', with a space" in refusal("training={threads:1}")


@pytest.mark.parametrize("name", ["adafactor", "cadafactor"])
def test_a_config_of_the_time_when_they_were_settings_is_read(name, tmp_path):
    file = tmp_path / "config.yaml"
    old = f"{{scale_parameter: true, eps_scale: 0.001, warmup_init: false, name: {name}}}"
    file.write_text(f"optimizer: {old}\n")
    assert compose([str(file)]) == compose([f"optimizer={name}"])
    file.write_text(f"optimizer: {old.replace('0.001', '0.01')}\n")
    with pytest.raises(ConfigError, match="eps_scale: There is no such setting"):
        compose([str(file)])
