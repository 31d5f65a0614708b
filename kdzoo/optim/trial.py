"""Tries out an optimiser's settings: what only its steps find out is known before any work."""

import warnings
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import nn

SHAPES = ((16,), (16, 32), (16, 8, 3, 3), (16, 1, 3, 3))
"""Of a bias, a linear layer and convolutions, large enough for what optimisers do to large ones."""
STEPS = 2


def find_refusal(name: str, settings: dict[str, Any]) -> str | None:
    """Why an optimiser cannot make steps with these settings; None if it can.

    Args:
        name: as timm has it.
        settings: of its own, and ``weight_decay``.
    """
    generator = torch.Generator().manual_seed(0)
    # whoever composes a config is not to be disturbed, nor to disturb
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.random.fork_rng(devices=[]),
        torch.compiler.set_stance("force_eager"),
        warnings.catch_warnings(action="ignore"),
    ):
        parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
        try:
            optimizer = create_optimizer_v2(parameters, opt=name, lr=0.01, **settings)
            for _ in range(STEPS):
                for parameter in parameters:
                    parameter.grad = torch.randn(parameter.shape, generator=generator)
                optimizer.step()
        except Exception as error:  # whatever an optimiser raises
            reason = str(error).strip().splitlines()
            return reason[0].rstrip(".") if reason else type(error).__name__
        if not all(parameter.isfinite().all() for parameter in parameters):
            return "a weight is no finite number after two steps"
    return None
