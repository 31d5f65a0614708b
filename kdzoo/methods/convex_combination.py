"""The convex combination of logits that fits the labels best, for a whole batch at once."""

import torch
from torch import Tensor

STEPS = 30
"""Enough for the precision of the dtype: a step brings the remaining gap down about tenfold."""

EASY, HARD = 5.0, 20.0
"""Newton steps go astray on logits that lie far apart. The steps begin with logits softened until
they are EASY apart, and end with the logits as they are, or softened until they are HARD apart."""


@torch.no_grad()
def best_combination(logits: Tensor, probabilities: Tensor) -> Tensor:
    """``argmin_a CE(softmax(sum_i a_i z_i), y)`` with ``a >= 0`` and ``sum_i a_i = 1``, by sample.

    A primal-dual interior-point method with a fixed number of steps, so that nothing waits for a
    convergence test. ``s`` are the multipliers of ``a >= 0``; each step solves the optimality
    conditions, linearised, for a tenth of the present gap ``a . s / P``.

    Args:
        logits: [P, B, K].
        probabilities: [B, K], the labels.

    Returns:
        [B, P] weights.
    """
    z = logits.transpose(0, 1)
    z = z - torch.einsum("bpk,bk->bp", z, probabilities).unsqueeze(-1)  # now CE = logsumexp(a z)
    spread = (z.amax(dim=(1, 2)) - z.amin(dim=(1, 2))).unsqueeze(-1)
    z = z / (spread / HARD).clamp(min=1).unsqueeze(-1)
    spread = spread.clamp(max=HARD)
    ones = torch.ones_like(z[..., 0])
    a, s = ones / len(logits), ones * spread.clamp(min=1)
    eps = torch.finfo(z.dtype).eps
    for step in range(STEPS):
        softness = (spread / EASY * 0.7**step).clamp(min=1)
        p = (torch.einsum("bp,bpk->bk", a, z) / softness).softmax(dim=-1)
        gradient = torch.einsum("bpk,bk->bp", z, p)
        centred = z - gradient.unsqueeze(-1)
        hessian = torch.einsum("bpk,bqk,bk->bpq", centred, centred, p) / softness.unsqueeze(-1)
        gap = (0.1 * (a * s).mean(dim=-1, keepdim=True)).clamp(min=eps**1.5)
        ridge = eps**0.5 * hessian.diagonal(dim1=1, dim2=2).mean(dim=-1, keepdim=True)
        system = hessian + torch.diag_embed(s / a + ridge)
        right = torch.stack([gap / a - gradient, ones], dim=-1)
        free, level = torch.linalg.solve_ex(system, right)[0].unbind(dim=-1)
        change = free - level * (free.sum(-1, keepdim=True) / level.sum(-1, keepdim=True))
        change_s = gap / a - s - s / a * change
        # As far as the step goes without leaving the positive numbers.
        ratio = torch.maximum(-change / a, -change_s / s).amax(dim=-1, keepdim=True)
        length = 0.99 / ratio.clamp(min=0.99)
        a, s = a + length * change, s + length * change_s
    return a / a.sum(dim=-1, keepdim=True)
