"""The layers that networks have in common."""

import pytest
import torch
from torch.nn import functional as F

from kdzoo.backbones.layers import global_average

FORMATS = [torch.channels_last, torch.contiguous_format]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(16, 64, 8, 8), (5, 33, 7, 3), (4, 512, 1, 1), (1, 16, 2, 2)])
def test_the_average_is_torchs_bit_by_bit_and_its_gradient_lies_as_the_maps_do(
    shape, dtype, memory_format
):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    ours, theirs = (x.to(memory_format=memory_format, copy=True).requires_grad_() for _ in range(2))
    averages = global_average(ours), F.adaptive_avg_pool2d(theirs, 1).flatten(1)
    assert torch.equal(*averages)
    for average in averages:
        average.backward(average.detach())
    assert torch.equal(ours.grad, theirs.grad)
    assert ours.grad.is_contiguous(memory_format=memory_format)
