"""Compiles every kernel as a network would call it, for a GPU that need not be there.

Prints each one's name and the shared memory of a program.
"""

import sys
from types import ModuleType

import torch
import triton
from torch import nn
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kdzoo.kernels import device, tuned
from kdzoo.kernels.batch_norm import normalise, normalise_back
from kdzoo.kernels.convolution import Before, convolve, convolve_back
from kdzoo.kernels.geometry import Geometry
from kdzoo.kernels.weight_gradient import gradient_of_weight

TYPES = {
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.int64: "*i64",
    int: "i32",
    float: "fp32",
}
OPTIONS = ("num_warps", "num_stages")


class CompileOnly:
    """In the place of a kernel: compiles it for what it is called with."""

    def __init__(self, kernel, target):
        self.kernel, self.target, self.done = kernel, target, set()

    def __getitem__(self, grid):
        return self.compile

    def compile(self, *args, **kwargs):
        options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
        names = self.kernel.arg_names
        values = dict(zip(names, args, strict=False)) | kwargs
        assert values.keys() == set(names)
        constants = {
            (names.index(param.name),): values[param.name]
            for param in self.kernel.params
            if param.is_constexpr or values[param.name] is None
        }
        signature, hints = {}, {}
        for place, name in enumerate(names):
            value = values[name]
            if (place,) in constants:
                signature[name] = "constexpr"
                continue
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value)
            signature[name] = TYPES[kind]
            # as the launcher tells the compiler
            if isinstance(value, torch.Tensor) or (kind is int and value % 16 == 0):
                hints[(place,)] = [["tt.divisibility", 16]]
        key = str((signature, constants, hints, options))
        if key in self.done:
            return
        self.done.add(key)
        source = ASTSource(self.kernel, signature, constants, hints)
        compiled = triton.compile(source, target=self.target, options=options)
        print(self.kernel.__name__, compiled.metadata.shared)


def call_all(inputs, outputs, kernel, stride, size, batch):
    """Everything that a step does with one layer, on tensors that have no values."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, device="meta")
    conv = conv.to(memory_format=torch.channels_last)
    norm = nn.BatchNorm2d(outputs, device="meta")

    def new_map(*shape, dtype=torch.bfloat16):
        x = torch.empty(shape, device="meta", dtype=dtype)
        return x.contiguous(memory_format=torch.channels_last)

    first = inputs < 16
    x = new_map(batch, inputs, size, size, dtype=torch.float32 if first else torch.bfloat16)
    geometry = Geometry(x, conv, torch.bfloat16)
    y, parts = convolve(geometry, x, conv.weight)
    out, saved = normalise(geometry, y, parts, y, norm, True)
    normalise_back(geometry, y, out, y, saved, norm.weight, True)
    gradient_of_weight(geometry, y, x, conv.weight)
    if not first:
        before = Before(x, x, torch.empty(2, inputs, device="meta"))
        for elsewhere, step in ((None, None), (x, before)):
            convolve_back(geometry, y, conv.weight, elsewhere, step)


if __name__ == "__main__":
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    for module in [value for value in vars(device).values() if isinstance(value, ModuleType)]:
        for name, value in list(vars(module).items()):
            own = getattr(value, "__module__", None) == module.__name__
            if own and isinstance(value, triton.JITFunction):
                setattr(module, name, CompileOnly(value, target))
    if target.arch < 90:
        tuned.FEWEST_ROWS = sys.maxsize  # they have too little memory
    for layer in (
        (3, 16, 3, 1, 32, 128),
        (16, 16, 3, 1, 32, 1024),
        (32, 64, 3, 2, 16, 128),
        (64, 64, 3, 1, 8, 1024),
    ):
        call_all(*layer)
