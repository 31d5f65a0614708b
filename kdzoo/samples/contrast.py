"""Noise-contrastive estimation: which of many rows is a sample's own.

Gutmann & Hyvarinen, AISTATS 2010; Wu et al., CVPR 2018. With N the size of the training set, a row
is right with probability ``h = p / (p + M/N)``, ``p = exp(s) / (N z)``, where s is its similarity
over the temperature and z estimates the mean of all ``exp(s)``. N cancels out.
"""

import math

from torch import Tensor
from torch.nn import functional as F


def nce(match: Tensor, rest: Tensor, found: Tensor, log_z: Tensor) -> Tensor:
    """``- mean_b [log h_b0 + sum_k log (1 - h_bk)]``, summed over S comparisons.

    Args:
        match: [S, B, 1], similarities s over the temperature with the own row.
        rest: [S, B, M], with rows of other classes.
        found: [B], whether there are such rows; those of other images do not count.
        log_z: [S, 1, 1], the logarithm of each comparison's z, held constant.

    Returns:
        A scalar.
    """
    limit = log_z + math.log(rest.shape[-1])
    wrong = F.logsigmoid(limit - rest).sum(dim=-1) * found
    right = F.logsigmoid(match - limit).squeeze(-1)
    return -(right + wrong).mean(dim=1).sum()


def log_mean_exp(match: Tensor, rest: Tensor, found: Tensor) -> Tensor:
    """The logarithm of the mean of all ``exp(s)`` of a batch, [S, 1, 1], without a gradient.

    Args:
        match: as :func:`nce` has it, as are the others.
        rest: [S, B, M].
        found: [B].
    """
    counted = rest.detach().masked_fill(~found[:, None], -math.inf)
    count = len(found) + rest.shape[-1] * found.sum()
    total = counted.logsumexp(dim=(1, 2), keepdim=True)
    own = match.detach().logsumexp(dim=(1, 2), keepdim=True)
    return total.logaddexp(own) - count.to(total.dtype).log()
