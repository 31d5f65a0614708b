"""What batch norm, ReLU and the residual sum cost in training, written in several ways.

    python benchmarks/batch_norm.py               # in PyTorch's own operations
    python benchmarks/batch_norm.py --compile     # and as torch.compile makes it

Forward and backward of ``relu(bn(a) + b)``, channels last, for the three stages of a CIFAR ResNet
at batch 128: CPU milliseconds, the least of ``--rounds`` interleaved calls.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((16, 32), (32, 16), (64, 8))
BATCH = 128


def plain(bn: nn.BatchNorm2d, a: Tensor, b: Tensor) -> Tensor:
    return F.relu(bn(a) + b)


def in_place_relu(bn: nn.BatchNorm2d, a: Tensor, b: Tensor) -> Tensor:
    return (bn(a) + b).relu_()


def in_place(bn: nn.BatchNorm2d, a: Tensor, b: Tensor) -> Tensor:
    return bn(a).add_(b).relu_()


class OneNode(torch.autograd.Function):
    """All three as one node of autograd's graph, in place after batch norm."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, weight: Tensor, bias: Tensor, bn: nn.BatchNorm2d
    ) -> Tensor:
        out, mean, inverse = torch.native_batch_norm(
            a, weight, bias, bn.running_mean, bn.running_var, True, bn.momentum or 0.1, bn.eps
        )
        out.add_(b).relu_()
        ctx.save_for_backward(a, weight, mean, inverse, out)
        ctx.bn = bn
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        a, weight, mean, inverse, out = ctx.saved_tensors
        bn = ctx.bn
        passed = torch.ops.aten.threshold_backward(gradient, out, 0)
        to_a, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            passed, a, weight, bn.running_mean, bn.running_var, mean, inverse, True, bn.eps,
            [True, True, True],
        )  # fmt: skip
        return to_a, passed, to_weight, to_bias, None


def one_node(bn: nn.BatchNorm2d, a: Tensor, b: Tensor) -> Tensor:
    return OneNode.apply(a, b, bn.weight, bn.bias, bn)


WAYS: dict[str, Callable[[nn.BatchNorm2d, Tensor, Tensor], Tensor]] = {
    "out of place": plain,
    "ReLU in place": in_place_relu,
    "sum and ReLU in place": in_place,
    "one autograd node": one_node,
}


def measure(ways: dict[str, Any], channels: int, side: int, rounds: int) -> dict[str, float]:
    shape = (BATCH, channels, side, side)
    make = lambda: torch.randn(shape).to(memory_format=torch.channels_last)  # noqa: E731
    a, b = make().requires_grad_(), make().requires_grad_()
    gradient = make()
    bn = nn.BatchNorm2d(channels)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 2):
        for name, way in ways.items():
            a.grad = b.grad = None
            started = time.process_time()
            way(bn, a, b).backward(gradient)
            seconds[name].append(time.process_time() - started)
    return {name: 1000 * min(times[2:]) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ways = dict(WAYS)
    if arguments.compile:
        ways["compiled"] = torch.compile(plain, dynamic=False)
    print(f"| ms | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for channels, side in STAGES:
        times = measure(ways, channels, side, arguments.rounds)
        cells = " | ".join(f"{time:.2f}" for time in times.values())
        print(f"| {channels} x {side} x {side} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
