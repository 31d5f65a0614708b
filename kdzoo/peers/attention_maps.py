"""Attention maps, where in an image a network's features are large, and how far two are apart."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def energy(features: Tensor) -> Tensor:
    """The mean over channels of the squared features, [B, C, h, w] -> [B, hw]."""
    return features.square().mean(dim=1).flatten(1)


def attention_map(features: Tensor) -> Tensor:
    """The energy of features [B, C, h, w] as rows of length 1, [B, hw].

    Zagoruyko, Komodakis. Paying More Attention to Attention. ICLR 2017.
    """
    return F.normalize(energy(features))


def distance(one: Tensor, other: Tensor) -> Tensor:
    """The mean of the squared differences of two maps [B, n], a scalar."""
    return (one - other).square().mean()


def away_from(attention: Tensor) -> Tensor:
    """An attention map turned over: it is large where ``attention`` [B, n] is among the lowest.

    ``(c - a) sign(a - t) + c`` with a of length 1, c half the length of ``attention`` and t the
    largest of the lowest third of each sample's a.
    """
    half = attention.norm(dim=1, keepdim=True) / 2
    a = F.normalize(attention)
    threshold = a.kthvalue(max(a.shape[1] // 3, 1), dim=1, keepdim=True).values
    return (half - a) * torch.sign(a - threshold) + half


def turned_apart(maps: Sequence[Tensor]) -> Tensor:
    """How far each peer's attention is from where the peer before it does not look, summed.

    The peer before is held constant.

    Args:
        maps: [B, C, h, w] of two peers or more, in their order.
    """
    apart = [
        distance(attention_map(own), away_from(energy(before.detach())))
        for before, own in pairwise(maps)
    ]
    return torch.stack(apart).sum()


def moved_away(features: Tensor) -> Tensor:
    """Features [B, C, h, w] shifted towards where they are small, every channel of a place alike.

    By ``(away_from(A) - A / |A|) |A| / C`` with A their energy, as the authors' code has it.
    """
    attention = energy(features)
    length = attention.norm(dim=1, keepdim=True)
    shift = (away_from(attention) - F.normalize(attention)) * length / features.shape[1]
    return features + shift.view_as(features[:, :1])
