"""Batch norm over the whole batch, where several processes share it.

Ioffe & Szegedy, "Batch Normalization", ICML 2015. Every call of batch norm in training is taken
over while a :class:`SyncBatchNorm` is entered, whoever makes it: a layer of torch's, of timm's or a
plugin's, or a traced graph. The layers themselves stay what they are.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from torch.nn.modules._functions import SyncBatchNorm as CudaSyncBatchNorm
from torch.overrides import TorchFunctionMode

SMALL_SHARE = 32
"""Samples of a batch; with fewer on a process, their own mean and variance are poor estimates."""


def is_synchronised(setting: str | bool, shares: Sequence[int]) -> bool:
    """Whether batch norm is to be over all processes, of which each has a share of the batch.

    Args:
        setting: ``training.sync_batch_norm``.
        shares: samples of a batch on each process.
    """
    if len(shares) == 1:
        return False
    return min(shares) < SMALL_SHARE if setting == "auto" else bool(setting)


class SyncBatchNorm(TorchFunctionMode):
    """While entered, batch norm in training normalises with the statistics of all processes."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@torch.compiler.disable
def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """:func:`torch.nn.functional.batch_norm`, in training over the samples of all processes."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.is_cuda:
        group, size = distributed.group.WORLD, distributed.get_world_size()
        result = CudaSyncBatchNorm.apply(
            input, weight, bias, running_mean, running_var, eps, momentum, group, size
        )
        return cast(Tensor, result)
    with torch.no_grad():
        count, mean, var = _statistics(input)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = var * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return cast(Tensor, _Normalise.apply(input, weight, bias, count, mean, var, eps))


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the values of each channel of all processes: their number, mean and variance.

    Each process's variance is around its own mean, so that nothing is lost by cancellation; they
    are put together as by Chan, Golub & LeVeque, "Updating formulae", 1979.
    """
    own_mean, own_var = torch.batch_norm_update_stats(_precise(x), None, None, 0.0)
    own_count = own_mean.new_tensor([x.numel() / x.shape[1]])
    own = torch.cat([own_count, own_mean, own_var])
    every = own.new_empty(distributed.get_world_size() * len(own))
    distributed.all_gather_into_tensor(every, own)
    parts = every.double().view(-1, len(own)).split([1, x.shape[1], x.shape[1]], dim=1)
    counts, means, variances = parts
    count = counts.sum()
    weights = counts / count
    mean = (weights * means).sum(dim=0)
    var = (weights * (variances + (means - mean).square())).sum(dim=0)
    return count, mean.to(own.dtype), var.to(own.dtype)


class _Normalise(torch.autograd.Function):
    """The normalisation, with the gradient through the statistics that all samples share."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        count: Tensor,
        mean: Tensor,
        var: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, count, mean, (var + eps).rsqrt())
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, count, mean, scale = ctx.saved_tensors
        gradient = gradients[0]
        own_weight, own_bias = _sums(gradient, x, mean, scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            sums = torch.stack([own_weight, own_bias])
            distributed.all_reduce(sums)
            along, level = sums / count.to(sums.dtype)
            slope = scale if weight is None else scale * weight
            # slope * (gradient - level - x_hat * along), with x_hat = (x - mean) * scale
            shape = (1, -1, *(1 for _ in x.shape[2:]))
            bend = -slope * scale * along
            grad_x = (_precise(gradient) * slope.view(shape)).addcmul_(
                _precise(x) - mean.view(shape), bend.view(shape)
            )
            grad_x = grad_x.sub_((slope * level).view(shape)).to(x.dtype)
        return (
            grad_x,
            own_weight if ctx.needs_input_grad[1] else None,
            own_bias if ctx.needs_input_grad[2] else None,
            None,
            None,
            None,
            None,
        )


def _sums(gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """By channel, over this process's samples: of gradient times normalised x, and of gradient."""
    _, along, level = torch.ops.aten.native_batch_norm_backward(
        _precise(gradient),
        _precise(x),
        torch.ones_like(mean),
        None,
        None,
        mean,
        scale,
        True,
        0.0,
        [False, True, True],
    )
    return along, level


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
