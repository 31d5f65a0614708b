"""The losses of methods, vectorised over peers: cross-entropy with the labels, and the ramp-up."""

import torch
import torch.nn.functional as F
from torch import Tensor

NO_CLASS = -(2**31)
"""torch leaves out samples with a certain label, -100 unless told otherwise; nothing has this."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy with the labels: mean over the batch, summed over peers.

    Args:
        logits: [B, K], or [P, B, K] for P peers.
        y: [B] class indices, or [B, K] class probabilities (mixup, label smoothing).
    """
    if logits.dim() == 2:
        return F.cross_entropy(logits, y, ignore_index=NO_CLASS)
    peers = logits.shape[0]
    labels = y.repeat(peers, *(1 for _ in y.shape[1:]))
    return peers * F.cross_entropy(logits.flatten(0, 1), labels, ignore_index=NO_CLASS)


def ramp_up(progress: Tensor, length: float) -> Tensor:
    """The weight ``exp(-5 (1 - min(progress / length, 1))^2)`` (Laine & Aila, ICLR 2017).

    Args:
        progress: the fraction of the training that is done, a scalar tensor in [0, 1].
        length: the fraction after which the weight stays at 1; 0 for a weight of 1 throughout.
    """
    if length == 0:
        return torch.ones_like(progress)
    return torch.exp(-5 * (1 - (progress / length).clamp(max=1)) ** 2)


def class_probabilities(y: Tensor, logits: Tensor) -> Tensor:
    """Labels as probabilities [B, K], given as [B] class indices or as probabilities already.

    Args:
        y: [B] or [B, K].
        logits: [..., K], whose classes and dtype are taken.
    """
    if y.dim() == 1:
        y = F.one_hot(y, logits.shape[-1])
    return y.to(logits.dtype)
