"""What a method is told of one batch of a training."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kdzoo.errors import UserError

ROUNDING = 0.01
"""By how much probabilities may miss a sum of 1: bfloat16 has three digits."""


@dataclass(frozen=True)
class Batch:
    """B samples of one training step.

    Attributes:
        x: [B, C, H, W] samples, or [V, B, C, H, W] where the method asks for V > 1 views. Where
            several processes share a batch, those of this process alone.
        y: [B] class indices, or [B, K] class probabilities (mixup, label smoothing).
        progress: the fraction of the training that is done, a scalar tensor in [0, 1].
        index: [B] int64, the place of each sample in the training set, from 0 on; of two that were
            mixed, that of the first. None where the training loop does not say.
    """

    x: Tensor
    y: Tensor
    progress: Tensor
    index: Tensor | None = None

    def need_index(self) -> Tensor:
        """``index`` [B], for a method that cannot do without.

        Raises:
            UserError: the training loop does not say it.
        """
        if self.index is None:
            raise UserError(
                "This method has to know which samples a batch is made of. Give the place of each "
                "in the training set, an int64 tensor [B]: method(x, y, progress, index)."
            )
        return self.index


def check_samples(
    x: Tensor,
    y: Tensor,
    index: Tensor | None,
    *,
    like: Tensor,
    channels: int,
    views: int,
    training: bool,
) -> None:
    """Make sure that samples, labels and places are of one batch, and the views those asked for.

    Args:
        x: samples.
        y: their labels.
        index: their places in the training set, or None.
        like: a weight of the networks, whose type the samples have to have.
        channels: C, of each sample.
        views: V, how many views of each sample the method asks for in training.
        training: whether it is in training mode; in evaluation one view is enough.

    Raises:
        UserError: they are not.
    """
    for name, given in (("y", y), ("index", index)):
        if given is not None and given.device != x.device:
            raise UserError(
                f"{name} is on {given.device} and x on {x.device}; move {name} with "
                f"{name}.to(x.device)."
            )
    if x.dim() not in (4, 5) or x.shape[-3] != channels:
        raise UserError(
            f"x has the shape {list(x.shape)}; give samples of {channels} channels, "
            f"[B, {channels}, H, W]. Networks for others are built with input_size=(C, H, W)."
        )
    if not _is_taken(x, like):
        raise UserError(
            f"x is of {x.dtype}, and the networks are of {like.dtype}; give x.to({like.dtype})."
        )
    seen = x.shape[0] if x.dim() == 5 else 1
    if seen != views and (training or seen > 1):
        wanted = "one view of each sample, [B, C, H, W]"
        if views > 1:
            wanted = (
                f"{views} views of each sample, [{views}, B, C, H, W] (views that are all alike "
                f"are x.expand({views}, *x.shape))"
            )
        raise UserError(f"The method asks for {wanted}, and x has the shape {list(x.shape)}.")
    samples = x.shape[-4]
    for name, given in (("y", y), ("index", index)):
        if given is not None and (given.dim() == 0 or len(given) != samples):
            raise UserError(
                f"x holds {samples} samples, and {name} has the shape {list(given.shape)}."
            )
    if not samples:
        raise UserError("The batch is empty; leave it out.")
    if index is not None and (index.dim() > 1 or is_fractional(index)):
        raise UserError(
            f"index has the shape {list(index.shape)} and the type {index.dtype}; give the place "
            "of each sample in the training set, an int64 tensor [B]."
        )


def as_labels(y: Tensor, logits: Tensor) -> Tensor:
    """Labels as losses take them: int64 [B], or [B, K] of the dtype of the logits.

    Args:
        y: class indices [B] or class probabilities [B, K], one-hot ones of any type.
        logits: [..., B, K].

    Raises:
        UserError: they are neither; on the CPU also where an index is not one of a class or a row
            holds no probabilities, which on other devices is not looked at, since that would wait
            for them.
    """
    classes = logits.shape[-1]
    looked_at = y.device.type == "cpu" and not torch.compiler.is_compiling()
    if y.dim() == 1 and not is_fractional(y):
        y = y.long()
        if looked_at:
            low, high = (int(end) for end in y.aminmax())
            if low < 0 or high >= classes:
                raise UserError(
                    f"y has class indices from {low} to {high}, and {classes} classes have 0 to "
                    f"{classes - 1}."
                )
        return y
    if y.dim() == 2 and y.shape[1] == classes:
        if looked_at:
            _check_probabilities(y)
        return y.to(logits.dtype)
    raise UserError(
        f"y has the shape {list(y.shape)} and the type {y.dtype}; give class indices, integers "
        f"[B], or probabilities of the classes, [B, {classes}]."
    )


def _check_probabilities(y: Tensor) -> None:
    sums = y.detach().float().sum(dim=1)
    right = (sums - 1).abs() <= ROUNDING
    try:
        if right.all():
            return
    except RuntimeError:  # in vmap, or while a graph is traced, nobody can look
        return
    wrong = int(right.logical_not().nonzero()[0, 0])
    raise UserError(
        f"Row {wrong} of y holds no probabilities of the {y.shape[1]} classes: it adds up to "
        f"{sums[wrong]:g}, and not to 1."
    )


def as_progress(progress: Tensor | float, device: torch.device) -> Tensor:
    """The fraction of the training that is done, as a tensor on the device.

    Raises:
        UserError: it is a number outside [0, 1]; tensors are not looked at.
    """
    if isinstance(progress, Tensor):
        return progress
    if not (math.isfinite(progress) and 0 <= progress <= 1):
        raise UserError(
            f"progress is {progress}; give the fraction of the training that is done, from 0 to 1: "
            "step / total_steps."
        )
    return torch.tensor(float(progress), device=device)


def _is_taken(x: Tensor, like: Tensor) -> bool:
    """Whether networks with such weights take such samples; autocast brings most to one type."""
    if x.dtype == like.dtype:
        return True
    cast = x.is_floating_point() and torch.float64 not in (x.dtype, like.dtype)
    return cast and torch.is_autocast_enabled(x.device.type)


def is_fractional(values: Tensor) -> bool:
    """Whether numbers of this type need not be whole ones."""
    return values.is_floating_point() or values.is_complex()
