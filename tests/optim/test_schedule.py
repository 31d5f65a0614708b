"""The learning rate, step by step."""

import math
from fractions import Fraction
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kdzoo.component import validate
from kdzoo.compose import compose
from kdzoo.errors import ConfigError
from kdzoo.optim.schedule import SCHEDULES, Schedule, schedule_config


def rates(steps: int, *settings: str, lr: float = 0.1) -> list[float]:
    config = compose(["dataset=cifar10", f"lr={lr}", *settings]).schedule
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = Schedule(config, optimizer, steps)
    seen = []
    for step in range(steps):
        schedule.set(step)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_multistep_falls_at_fractions_of_the_training():
    seen = rates(300, lr=1.0)
    assert seen[:150] == [1.0] * 150
    assert seen[150:225] == pytest.approx([0.1] * 75)
    assert seen[225:] == pytest.approx([0.01] * 75)


@pytest.mark.parametrize("steps", [1, 7, 300, 997, 117300])
def test_the_papers_schedule_is_exact(steps):
    every = max(1, steps // 1000)
    plain = [0.1 * 0.1 ** ((step >= steps / 2) + (step >= 3 * steps / 4)) for step in range(steps)]
    assert rates(steps)[::every] == plain[::every]


@pytest.mark.parametrize("milestones", [(0.1, 0.7), (0.3, 0.6, 0.9), (1 / 3,)])
def test_milestones_fall_before_the_first_step_that_is_not_earlier(milestones):
    for steps in (10, 30, 77):
        plain = [
            0.1 * 0.5 ** sum(step >= milestone * steps for milestone in milestones)
            for step in range(steps)
        ]
        listed = ",".join(map(repr, milestones))
        seen = rates(steps, f"schedule.milestones=[{listed}]", "schedule.gamma=0.5")
        assert seen == plain


@pytest.mark.parametrize("warmup", [0, 0.01, 0.3])
@pytest.mark.parametrize("name", ["multistep", "cosine", "constant"])
def test_rates_are_those_of_the_plain_formula(name, warmup):
    steps = 997
    rising = warmup * steps

    def plain(step: int) -> float:
        if step < rising:
            return 0.1 * ((step + 1) / (rising + 1))
        return (
            0.1
            * {
                "multistep": 0.1 ** ((step >= steps / 2) + (step >= 3 * steps / 4)),
                "cosine": 0.5 * (1 + math.cos(math.pi * ((step - rising) / (steps - rising)))),
                "constant": 1.0,
            }[name]
        )

    seen = rates(steps, f"schedule={name}", f"schedule.warmup={warmup}")
    assert seen == [plain(step) for step in range(steps)]


def test_step_falls_at_equal_intervals():
    seen = rates(100, "schedule=step", "schedule.interval=0.25", lr=1.0)
    assert seen == pytest.approx([0.1 ** (step // 25) for step in range(100)])


THOUSANDTHS = st.integers(1, 999).map(lambda count: Fraction(count, 1000))


def rates_after_warmup(steps: int, **settings) -> dict[int, float]:
    """The rate at every step from the end of the warm-up on, where the highest is 1."""
    config = validate(schedule_config(settings["name"]), {"gamma": 0.5, **settings})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(config, optimizer, steps)
    begin = math.ceil(Fraction(str(settings.get("warmup", 0))) * steps)
    return {step: schedule.rates(step)[0] for step in range(begin, steps)}


@given(THOUSANDTHS, st.just(Fraction()) | THOUSANDTHS, st.integers(1, 1000))
def test_step_falls_at_the_first_step_that_is_not_before_an_intervals_end(interval, warmup, steps):
    begin = warmup * steps
    seen = rates_after_warmup(steps, name="step", interval=float(interval), warmup=float(warmup))
    for step, rate in seen.items():
        falls = (step - begin) // (interval * (steps - begin))
        assert rate == pytest.approx(0.5**falls), step


@pytest.mark.parametrize(("interval", "steps"), [(0.1, 30), (0.2, 300), (0.2, 30000), (0.3, 11710)])
def test_step_falls_on_time_in_trainings_of_any_length(interval, steps):
    length = Fraction(str(interval)) * steps
    seen = rates_after_warmup(steps, name="step", interval=interval)
    falls = [step for step in range(1, steps) if seen[step] < seen[step - 1]]
    assert falls == [math.ceil(k * length) for k in range(1, math.ceil(1 / interval))]


@given(THOUSANDTHS, st.integers(1, 1000))
def test_a_milestone_is_the_fraction_that_is_written(milestone, steps):
    """As a float, 0.07 times 100 steps is more than 7."""
    seen = rates_after_warmup(steps, name="multistep", milestones=[float(milestone)])
    assert list(seen.values()) == [0.5 ** (step >= milestone * steps) for step in range(steps)]


@pytest.mark.parametrize("name", ["step", "multistep"])
def test_a_fraction_that_no_decimals_write_is_meant_too(name):
    setting = {"step": {"interval": 5 / 6}, "multistep": {"milestones": [5 / 6]}}[name]
    seen = rates_after_warmup(30, name=name, **setting)
    assert list(seen.values()) == [1.0] * 25 + [0.5] * 5


def test_poly_falls_with_a_power_of_what_is_left():
    seen = rates(100, "schedule=poly", "schedule.power=2", "schedule.min_lr=0.2", lr=1.0)
    assert seen == pytest.approx([0.2 + 0.8 * (1 - step / 100) ** 2 for step in range(100)])


def test_wsd_is_constant_and_then_falls():
    seen = rates(100, "schedule=wsd", "schedule.decay=0.5", "schedule.decay_fn=linear", lr=1.0)
    assert seen == pytest.approx([min(1, (100 - step) / 50) for step in range(100)])


@pytest.mark.parametrize("name", ["wsd", "rsqrt"])
def test_every_way_to_fall_at_the_end_is_a_curve_of_its_own(name):
    ways = get_args(schedule_config(name).model_fields["decay_fn"].annotation)
    curves = {tuple(rates(50, f"schedule={name}", f"schedule.decay_fn={way}")) for way in ways}
    assert len(curves) == len(ways) > 1


def test_rsqrt_goes_with_one_over_the_root_of_the_time():
    seen = rates(100, "schedule=rsqrt", "schedule.timescale=0.5", "schedule.decay=0.01", lr=1.0)
    assert seen[:99] == pytest.approx([(1 + step / 50) ** -0.5 for step in range(99)])


def test_tanh_falls_from_the_full_rate_to_the_lowest():
    seen = rates(100, "schedule=tanh", "schedule.min_lr=0.01", lr=1.0)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == pytest.approx(1, abs=1e-5)
    assert seen[70] == pytest.approx(0.01 + 0.99 / 2)


def test_cycles_start_again_at_a_lower_rate():
    seen = rates(90, "schedule=cosine", "schedule.cycles=3", "schedule.cycle_decay=0.5", lr=1.0)
    assert [seen[0], seen[30], seen[60]] == pytest.approx([1, 0.5, 0.25], abs=1e-4)
    assert seen[15] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_warms_up_and_hands_over_at_the_full_rate(name):
    seen = rates(40, f"schedule={name}", "schedule.warmup=0.25", lr=1.0)
    assert seen[:10] == [(step + 1) / 11 for step in range(10)]
    assert seen[10] == pytest.approx(1.0, abs=1e-4)
    assert all(rate >= 0 for rate in seen)


def test_a_group_learns_at_its_own_scale():
    optimizer = torch.optim.SGD(
        [
            {"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 0.5},
            {"params": [nn.Parameter(torch.zeros(1))]},
        ],
        lr=1.0,
    )
    schedule = Schedule(compose(["schedule.warmup=0"]).schedule, optimizer, 10)
    schedule.set(5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("epochs", [1, 2, 5, 40])
def test_a_short_training_on_digits_reaches_its_rate_and_comes_down_again(epochs):
    config = compose([f"epochs={epochs}"])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule = Schedule(config.schedule, optimizer, 11 * epochs)
    seen = []
    for step in range(11 * epochs):
        schedule.set(step)
        seen.append(optimizer.param_groups[0]["lr"])
    assert max(seen) > 0.98 * config.lr
    assert seen[-1] < 0.05 * config.lr


def test_a_warmup_in_epochs_is_refused_with_what_to_write():
    with pytest.raises(ConfigError, match=r"schedule\.warmup: .*fraction.*5 of 40 are 0\.125"):
        compose(["schedule.warmup=5"])
    with pytest.raises(ConfigError, match=r"schedule\.warmup"):
        compose(["schedule.warmup=-0.1"])


def test_a_setting_of_another_schedule_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"schedule\.gamma: .*k_decay.*min_lr"):
        compose(["schedule=cosine", "schedule.gamma=0.5"])
    with pytest.raises(ConfigError, match=r"schedule\.name: .*cosine"):
        compose(["schedule=cosin"])


@pytest.mark.parametrize("name", ["cosine", "poly", "tanh"])
def test_one_cycle_has_no_decay_to_the_next(name):
    with pytest.raises(ConfigError, match=r"cycle_decay: .*schedule\.cycles=2"):
        validate(schedule_config(name), {"name": name, "cycle_decay": 0.5})
    assert validate(schedule_config(name), {"name": name, "cycle_decay": 0.5, "cycles": 2})
