"""Every setting of every optimiser and schedule: what is no use is refused, by name."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.optim import get_optimizer_class
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
NAMES = [name for name in optimizer_names() if not name.startswith(("bnb", "fused"))]
ONE_OF_EACH = sorted({get_optimizer_class(one, bind_defaults=False): one for one in NAMES}.values())


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
