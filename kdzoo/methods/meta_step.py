"""The meta step: parameters that no loss reaches learn from where a training would lead."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.sgd import sgd

from kdzoo.methods.unrolled_sgd import Weights, call_with, unrolled_sgd

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""Of the steps that a meta step looks ahead, and of what it learns."""

M = TypeVar("M", bound=nn.Module)


@torch.enable_grad()
def meta_gradient(
    module: nn.Module,
    learnt: str,
    inner: Callable[..., Tensor],
    outer: Callable[..., Tensor],
    *args: Tensor,
    steps: int,
    lr: float,
) -> list[Tensor]:
    """The gradient of the outer objective through steps of SGD on the inner one.

    With w_0 the trained parameters: ``w_{s+1}`` is a step down ``inner(w_s, v)`` for s < steps, w'
    one down ``outer(w_steps)``, and the result ``d outer(w') / dv``. The module stays as it is.

    Args:
        module: whose parameters are w, as far as they need a gradient.
        learnt: the part of it whose parameters are v; they need none.
        inner: a bound method of the module that gives a scalar.
        outer: another one, which does not depend on v but through w.
        *args: of both.
        steps: on the inner objective.
        lr: the learning rate of all steps.

    Returns:
        One gradient for each parameter of ``learnt``.
    """
    part = module.get_submodule(learnt)
    v = {name: _leaf(value) for name, value in part.named_parameters(prefix=learnt)}
    w = {name: _leaf(value) for name, value in module.named_parameters() if value.requires_grad}

    def inside(weights: Weights) -> Tensor:
        return call_with(module, inner, {**weights, **v}, *args)

    def outside(weights: Weights) -> Tensor:
        return call_with(module, outer, weights, *args)

    with sdpa_kernel(SDPBackend.MATH):  # the other ones have no second derivative
        ahead = unrolled_sgd(
            [inside] * steps + [outside], w, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        return list(torch.autograd.grad(outside(ahead), list(v.values())))


def at_rest(module: M) -> M:
    """The velocity of SGD with momentum before its first step: a copy of a module, of zeros."""
    velocity = copy.deepcopy(module)
    for moment in velocity.parameters():
        moment.zero_()
    return velocity


@torch.no_grad()
def nesterov_step(
    module: nn.Module, velocity: nn.Module, gradients: Sequence[Tensor], lr: float
) -> Sequence[Tensor]:
    """A step of SGD with Nesterov's momentum, which changes a module and its velocity in place.

    Args:
        module: whose parameters learn; they need no gradient.
        velocity: of it, as :func:`at_rest` makes it.
        gradients: one for each parameter.
        lr: the learning rate.

    Returns:
        All tensors that have changed.
    """
    parameters: list[Tensor] = list(module.parameters())
    moments: list[Tensor | None] = list(velocity.parameters())
    sgd(
        parameters,
        list(gradients),
        moments,
        lr=lr,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        dampening=0,
        nesterov=True,
        maximize=False,
    )
    return [*parameters, *velocity.parameters()]


def _leaf(parameter: Tensor) -> Tensor:
    return parameter.detach().requires_grad_()
