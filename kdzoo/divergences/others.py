"""The classes that are not a sample's target, for divergences that treat them apart."""

import torch
from torch import Tensor


def others(logits: Tensor, target: Tensor) -> Tensor:
    """Logits [..., B, K-1] without each sample's target class, in their order.

    Args:
        logits: [..., B, K].
        target: [B] class indices.
    """
    place = torch.arange(logits.shape[-1] - 1, device=logits.device)
    index = place + (place >= target.unsqueeze(-1))
    return logits.gather(-1, index.expand(*logits.shape[:-1], -1))
