"""What compiling a step takes, and what a compiled step saves.

python benchmarks/compile.py one mbde --backbone resnet20
TORCHINDUCTOR_CACHE_DIR=FOLDER python benchmarks/compile.py mbde     # twice: the second time cached

A method and its compiled twin take turns on one batch. Times are CPU seconds of the process and of
the compilers that it starts, on one thread; without the variable, nothing is taken from a cache.
"""

import argparse
import os
import resource
import tempfile
import time
from functools import partial
from statistics import median

import torch
from torch import Tensor

from kdzoo.api import create_method
from kdzoo.methods.base import Method
from kdzoo.peers.cost import measure_cost
from kdzoo.training.compile import CACHE, StepCompiler

HEAD = "| method | backbone | images | leaves | compile, s | eager, ms | compiled, ms | saved |"


class Contestant:
    """A method and its optimizer."""

    def __init__(self, name: str, backbone: str, size: int, bf16: bool) -> None:
        method = create_method(name, backbone=backbone, num_classes=100, input_size=(3, size, size))
        self.method: Method = method.to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(method.parameters(), lr=0.01, momentum=0.9)
        self.autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=bf16)
        self.times: list[float] = []

    def step(self, x: Tensor, y: Tensor, progress: Tensor) -> None:
        started = cpu_seconds()
        with self.autocast():
            result = self.method(x, y, progress)
        torch.stack(list(result.terms.values())).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.times.append(1000 * (cpu_seconds() - started))


def cpu_seconds() -> float:
    """Of this process and of all that it has started and waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def row(name: str, backbone: str, size: int, batch: int, steps: int, bf16: bool) -> str:
    """A line of the table."""
    eager, compiled = (Contestant(name, backbone, size, bf16) for _ in range(2))
    x = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    y, progress = torch.randint(100, (batch,)), torch.tensor(0.5)
    started = cpu_seconds()
    with compiled.autocast():
        reason = StepCompiler(compiled.method, print).compile(x, y, progress)
    seconds = cpu_seconds() - started
    if reason is not None:
        raise SystemExit(reason)
    for _ in range(steps + 2):  # two to warm up
        for one in (eager, compiled):
            one.step(x, y, progress)
    slow, fast = eager.times[2:], compiled.times[2:]
    leaves = sum(1 for module in eager.method.modules() if not any(module.children()))
    work = measure_cost(eager.method.peers, (3, size, size))["macs"] * batch
    saved = min(slow) - min(fast)
    return (
        f"| {name} | {backbone} | {batch} x {size}x{size} | {leaves} | {seconds:.0f} "
        f"| {median(slow):.0f} [{min(slow):.0f}] | {median(fast):.0f} [{min(fast):.0f}] "
        f"| {saved:.1f} ms, {1e9 * saved / work:.1f} ps a multiply-add |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--backbone", nargs="+", default=["resnet20"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--bf16", action="store_true", help="under autocast, as runs are")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # compilers that run beside are not counted
    print(HEAD, "|---" * 8 + "|", sep="\n")
    with tempfile.TemporaryDirectory() as empty:
        os.environ.setdefault(CACHE, empty)
        for backbone in given.backbone:
            for name in given.methods:
                torch.compiler.reset()
                print(
                    row(name, backbone, given.size, given.batch, given.steps, given.bf16),
                    flush=True,
                )


if __name__ == "__main__":
    main()
