"""Attention maps, where in an image a network's features are large, and how far two are apart."""

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
