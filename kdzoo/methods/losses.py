"""The two losses that every method is built from, vectorised over peers."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy with the labels: mean over the batch, summed over peers.

    Args:
        logits: [B, K], or [P, B, K] for P peers.
        y: [B] class indices, or [B, K] class probabilities (mixup, label smoothing).
    """
    if logits.dim() == 2:
        return F.cross_entropy(logits, y)
    peers = logits.shape[0]
    labels = y.repeat(peers, *(1 for _ in y.shape[1:]))
    return peers * F.cross_entropy(logits.flatten(0, 1), labels)


def kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(student / T))``: mean over the batch, summed over
    peers (Hinton et al., 2015, with the factor that keeps gradients comparable across T).

    Gradients flow into both arguments: detach the one that is to be held constant.

    Args:
        teacher: target logits [B, K] or [P, B, K].
        student: logits of the same shape.
        temperature: T > 0.
    """
    divergence = F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        reduction="sum",
        log_target=True,
    )
    return divergence * (temperature**2 / student.shape[-2])


def ramp_up(progress: Tensor, length: float) -> Tensor:
    """The weight ``exp(-5 (1 - min(progress / length, 1))^2)`` (Laine & Aila, ICLR 2017).

    Args:
        progress: the fraction of the training that is done, a scalar tensor in [0, 1].
        length: the fraction after which the weight stays at 1; 0 for a weight of 1 throughout.
    """
    if length == 0:
        return torch.ones_like(progress)
    return torch.exp(-5 * (1 - (progress / length).clamp(max=1)) ** 2)
