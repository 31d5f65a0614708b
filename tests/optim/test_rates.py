"""Rates on a device are those of the host at every step, and move no tensor."""

import pytest
import torch
from torch import nn

from kdzoo.compose import compose
from kdzoo.optim.rates import DeviceRates, HostRates
from kdzoo.optim.schedule import SCHEDULES, Schedule

STEPS, STEPS_PER_EPOCH = 23, 5


def optimizer(*lrs) -> torch.optim.SGD:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    groups[-1]["lr_scale"] = 0.25
    return torch.optim.SGD(groups)


@pytest.mark.parametrize("warmup", [0, 0.3])
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_they_are_those_of_the_host_at_every_step(name, warmup):
    config = compose([f"schedule={name}", f"schedule.warmup={warmup}"]).schedule
    plain, other = optimizer(0.1, 0.1), optimizer(0.1, 0.1)
    host = HostRates(Schedule(config, plain, STEPS))
    device = DeviceRates(
        Schedule(config, other, STEPS), other, STEPS_PER_EPOCH, torch.device("cpu")
    )
    places = [group["lr"].data_ptr() for group in other.param_groups]
    seen = []
    for step in range(STEPS):
        position = torch.tensor([step % STEPS_PER_EPOCH])
        for rates in (host, device):
            if position == 0:
                rates.begin(step)
            rates.apply(position)
        seen.append(plain.param_groups[0]["lr"])
        for expected, found in zip(plain.param_groups, other.param_groups, strict=True):
            assert found["lr"].item() == torch.tensor(expected["lr"]).item()
    assert [group["lr"].data_ptr() for group in other.param_groups] == places
    assert len(set(seen)) > 1 or (name == "constant" and not warmup)
    assert plain.param_groups[1]["lr"] == 0.25 * plain.param_groups[0]["lr"]


def test_they_begin_anywhere():
    config = compose(["schedule=cosine"]).schedule
    plain, other = optimizer(0.1, 0.1), optimizer(0.1, 0.1)
    schedule = Schedule(config, plain, STEPS)
    device = DeviceRates(
        Schedule(config, other, STEPS), other, STEPS_PER_EPOCH, torch.device("cpu")
    )
    device.begin(20)
    device.apply(torch.tensor([2]))
    expected = torch.tensor(schedule.rates(22))
    assert torch.equal(torch.stack([group["lr"] for group in other.param_groups]), expected)
    assert plain.param_groups[0]["lr"] == 0.1  # it is a function, and sets nothing
