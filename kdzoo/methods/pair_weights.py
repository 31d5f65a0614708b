"""How much each pair of embeddings counts in a mutual contrast, for each image."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pair_weights(maps: Iterable[nn.Module], embeddings: Iterable[Tensor]) -> Tensor:
    """``2 sigmoid(cos(p_n, p_m))`` [N, N, B], p_n what embedding n is mapped to.

    Pairs that are alike count for more, and those at a right angle for 1.

    Args:
        maps: N modules, from [B, D] to one width for all.
        embeddings: N tensors [B, D].
    """
    pairs = zip(maps, embeddings, strict=True)
    p = torch.stack([F.normalize(to(h), dim=1) for to, h in pairs])
    return 2 * torch.einsum("nbd,mbd->nmb", p, p).sigmoid()
