"""The learning rate, step by step."""

import pytest
import torch
from torch import nn

from kdzoo.config import OptimizerConfig, ScheduleConfig
from kdzoo.training.optim import build_optimizer, build_schedule


def rates(config: ScheduleConfig, steps: int, steps_per_epoch: int = 10) -> list[float]:
    optimizer = build_optimizer(OptimizerConfig(), [nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(config, optimizer, steps, steps_per_epoch)
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def test_multistep_falls_at_fractions_of_the_training():
    seen = rates(ScheduleConfig(milestones=(0.5, 0.75), gamma=0.1), 300)
    assert seen[:150] == [1.0] * 150
    assert seen[150:225] == pytest.approx([0.1] * 75)
    assert seen[225:] == pytest.approx([0.01] * 75)


def test_cosine_falls_from_the_full_rate_towards_zero():
    seen = rates(ScheduleConfig(name="cosine"), 100)
    assert seen[0] == 1
    assert seen[50] == pytest.approx(0.5)
    assert 0 < seen[-1] < 1e-3


def test_warmup_rises_over_its_epochs_and_then_hands_over():
    seen = rates(ScheduleConfig(name="constant", warmup=2), 40)
    assert seen[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert seen[20:] == [1.0] * 20


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_settings_reach_torch(name, kind):
    config = OptimizerConfig(name=name, weight_decay=0.25)
    optimizer = build_optimizer(config, [nn.Parameter(torch.zeros(1))], lr=0.5)
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert optimizer.param_groups[0]["lr"] == 0.5
