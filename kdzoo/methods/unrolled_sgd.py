"""Steps of SGD that gradients flow through, for what is learnt from where they lead."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

Weights = dict[str, Tensor]


def unrolled_sgd(
    objectives: Iterable[Callable[[Weights], Tensor]],
    weights: Weights,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> Weights:
    """Weights after a step of SGD down each objective, in turn.

    ``v <- momentum v + g + weight_decay w, w <- w - lr v``, with v = 0 at first. The result is a
    function of all that the objectives depend on, and can be differentiated (Maclaurin, Duvenaud,
    Adams, ICML 2015): the graphs of all steps are kept.

    Args:
        objectives: each gives a scalar for weights.
        weights: where the steps begin, leaves that take a gradient; they are not changed.
        lr: the learning rate.
        momentum: of the velocity v.
        weight_decay: what is added of the weights to their gradient.
    """
    velocity: Weights = {name: torch.zeros_like(value) for name, value in weights.items()}
    for objective in objectives:
        gradients = torch.autograd.grad(
            objective(weights), list(weights.values()), create_graph=True, materialize_grads=True
        )
        for (name, value), gradient in zip(weights.items(), gradients, strict=True):
            velocity[name] = momentum * velocity[name] + gradient + weight_decay * value
        weights = {name: value - lr * velocity[name] for name, value in weights.items()}
    return weights


def call_with(
    module: nn.Module, call: Callable[..., Tensor], weights: Weights, *args: Any
) -> Tensor:
    """``call(*args)``, as if the module had other weights; its buffers stay as they are.

    Args:
        module: whose parameters ``weights`` names, all or some.
        call: a bound method of it.
        weights: what stands for them.
        *args: of the call.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    given = {f"module.{name}": value for name, value in {**buffers, **weights}.items()}
    return cast(Tensor, functional_call(_Calls(module, call), given, args))


class _Calls(nn.Module):
    """For ``functional_call``, which calls modules alone."""

    def __init__(self, module: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module = module
        self._call = call

    def forward(self, *args: Any) -> Tensor:
        return self._call(*args)
