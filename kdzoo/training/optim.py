"""The optimiser and the schedule of its learning rate."""

import math
from bisect import bisect_right
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kdzoo.config import OptimizerConfig, ScheduleConfig


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter], lr: float
) -> Optimizer:
    """SGD or AdamW over all parameters."""
    if config.name == "adamw":
        return torch.optim.AdamW(
            parameters, lr=lr, betas=config.betas, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def build_schedule(
    config: ScheduleConfig, optimizer: Optimizer, steps: int, steps_per_epoch: int
) -> LambdaLR:
    """The learning rate's factor, step by step.

    Args:
        config: the shape of the curve.
        optimizer: whose rate is set.
        steps: the length of the whole training.
        steps_per_epoch: to turn ``warmup`` from epochs into steps.
    """
    warmup = config.warmup * steps_per_epoch
    milestones = [fraction * steps for fraction in config.milestones]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.name == "cosine":
            done = (step - warmup) / max(steps - warmup, 1)
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if config.name == "multistep":
            return config.gamma ** bisect_right(milestones, step)
        return 1.0

    return LambdaLR(optimizer, factor)
