"""Layers and maps for the tests of fused kernels, and the equations they are held to."""

import torch
import torch.nn.functional as F
from torch import nn

from kdzoo.kernels import tuned
from kdzoo.kernels.conv_norm_act import conv_norm_act

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


# the interpreter has no bfloat16 products
FORMATS = [torch.bfloat16 if DEVICE == "cuda" else torch.float32, torch.float16]


ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}


def layers(inputs, outputs, kernel=3, stride=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    norm = nn.BatchNorm2d(outputs)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
    conv, norm = conv.to(DEVICE), norm.to(DEVICE)
    return conv.to(memory_format=torch.channels_last), norm


def noise(*shape, dtype):
    x = torch.randn(shape, device=DEVICE).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def in_format():
    return torch.autocast(DEVICE, dtype=FORMATS[0], enabled=DEVICE == "cuda")


def rounded(x, dtype):
    """Rounded on the way, which gradients do not see."""
    return x + (x.to(dtype).to(x.dtype) - x).detach()


def equations(x, weight, scale, bias, shortcut, *, conv, norm, relu, dtype):
    """relu(batch_norm(x * weight) + shortcut), mean and variance, from the definitions."""
    y = F.conv2d(x, rounded(weight, dtype), stride=conv.stride, padding=conv.padding)
    y = rounded(y, dtype)
    mean = y.mean(dim=(0, 2, 3), keepdim=True)
    variance = ((y - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    normal = (y - mean) / (variance + norm.eps).sqrt()
    out = normal * scale[:, None, None] + bias[:, None, None]
    if shortcut is not None:
        out = out + shortcut
    return (out.relu() if relu else out), mean.flatten(), variance.flatten()


def assert_near(found, expected, dtype):
    scale = expected.norm() + 1e-3 * expected.numel() ** 0.5
    assert (found.double() - expected).norm() <= ROUNDING[dtype] * scale


def check(inputs, outputs, kernel, stride, size, batch, shortcut, relu, dtype, seed=0):
    torch.manual_seed(seed)
    conv, norm = layers(inputs, outputs, kernel, stride)
    x = noise(batch, inputs, *size, dtype=dtype).requires_grad_(inputs >= 16)
    out_size = [-(-side // stride) for side in size]
    added = noise(batch, outputs, *out_size, dtype=dtype).requires_grad_() if shortcut else None
    gradient = noise(batch, outputs, *out_size, dtype=dtype)
    with torch.autocast(DEVICE, dtype=dtype, enabled=dtype != torch.float32):
        out, again = conv_norm_act(x, conv, norm, nn.ReLU() if relu else None, added)
    assert type(out.grad_fn).__name__ == "_ConvNormActBackward"
    elsewhere = noise(batch, inputs, *size, dtype=dtype)
    loss = (out * gradient).double().sum()
    if x.requires_grad:
        loss = loss + (again * elsewhere).double().sum()
    loss.backward()

    given_values = [x, conv.weight, norm.weight, norm.bias, added]
    exact = [None if v is None else v.detach().double().requires_grad_() for v in given_values]
    expected, mean, variance = equations(*exact, conv=conv, norm=norm, relu=relu, dtype=dtype)
    ((expected * gradient.double()).sum() + (exact[0] * elsewhere.double()).sum()).backward()
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert_near(out.detach(), expected.detach(), dtype)
    for value, reference in zip(given_values, exact, strict=True):
        if value is not None and value.requires_grad:
            assert_near(value.grad, reference.grad, dtype)
    assert conv.weight.grad.stride() == conv.weight.stride()
    count = out.numel() / outputs
    assert_near(norm.running_mean, 0.1 * mean.detach(), dtype)
    assert_near(norm.running_var, 0.9 + 0.1 * variance.detach() * count / (count - 1), dtype)
    assert norm.num_batches_tracked == 1


def divide(monkeypatch, columns, channels, enough):
    rows = tuned.Rows(columns, channels, 4, 2, enough)
    monkeypatch.setattr(tuned, "FEWEST_ROWS", 1)
    monkeypatch.setattr(tuned, "BY_ROWS", {16: rows, 32: rows})
    monkeypatch.setattr(tuned, "BY_ROWS_BACK", {16: rows, 32: rows})
