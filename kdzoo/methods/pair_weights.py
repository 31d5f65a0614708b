"""How much each pair of embeddings counts in a mutual contrast, for each image."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.layers import initialise


def pair_maps(widths: Sequence[int], count: int, compared: int) -> nn.ModuleList:
    """Linear maps of the embeddings of all networks, which no loss trains.

    Args:
        widths: D of each network's embeddings.
        count: L, how many embeddings each has.
        compared: the width that all are mapped to.

    Returns:
        For each network a list of L maps.
    """
    maps = nn.ModuleList(
        nn.ModuleList(nn.Linear(width, compared) for _ in range(count)) for width in widths
    )
    initialise(maps)
    return maps.requires_grad_(False)


def pair_weights(maps: nn.ModuleList, embeddings: Iterable[Tensor]) -> Tensor:
    """``2 sigmoid(cos(p_n, p_m))`` [N, N, B], p_n what embedding n is mapped to.

    Pairs that are alike count for more, and those at a right angle for 1.

    Args:
        maps: N of them, as :func:`pair_maps` makes them.
        embeddings: N tensors [B, D], network after network.
    """
    pairs = zip(chain.from_iterable(cast(Any, maps)), embeddings, strict=True)
    p = torch.stack([F.normalize(to(h), dim=1) for to, h in pairs])
    return 2 * torch.einsum("nbd,mbd->nmb", p, p).sigmoid()
