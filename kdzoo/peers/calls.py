"""The modules that a network calls, recorded by forward hooks: in what order, with what shapes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.backbones.logits import tensors
from kdzoo.errors import UserError

Shape = tuple[int, ...]

PROBE_BATCH = 3
"""Samples in a trial batch: more than one for batch norm, and no usual size of anything else."""


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        name: the module's path.
        caller: the path of the module that called it; "" is the network itself.
        index: which of the tensors in the output is meant, the first with an entry per sample.
        shape: of that tensor, without the batch; () if no tensor has an entry per sample.
    """

    name: str
    caller: str
    index: int
    shape: Shape


def probe_batch(network: nn.Module, input_size: Shape, samples: int = PROBE_BATCH) -> Tensor:
    """A batch of noise [samples, C, H, W] that fits a network's device and precision."""
    noise = torch.randn(samples, *input_size, generator=torch.Generator().manual_seed(0))
    like = next((p for p in network.parameters() if p.is_floating_point()), noise)
    return noise.to(device=like.device, dtype=like.dtype)


@torch.no_grad()
def record_calls(network: nn.Module, input_size: Shape, name: str) -> list[Call]:
    """The calls of one forward pass in evaluation mode, in the order in which they end.

    The network itself, named "", is the last.

    Args:
        network: it is left as it was.
        input_size: (C, H, W) of one sample.
        name: what the user calls this network.

    Raises:
        UserError: the network does not run on inputs of this size.
    """
    calls: list[Call] = []
    open_calls = [""]
    names = {module: path for path, module in network.named_modules()}

    def enter(module: nn.Module, args: Any) -> None:
        open_calls.append(names[module])

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        path = open_calls.pop()
        shapes = [tuple(tensor.shape) for tensor in tensors(output)]
        if shapes:
            per_sample = [i for i, shape in enumerate(shapes) if shape[:1] == (PROBE_BATCH,)]
            index = per_sample[0] if per_sample else 0
            shape = shapes[index][1:] if per_sample else ()
            calls.append(Call(path, open_calls[-1], index, shape))

    hooks = []
    for module in names:
        hooks.append(module.register_forward_pre_hook(enter))
        hooks.append(module.register_forward_hook(leave))
    try:
        with mode(network, training=False):
            network(probe_batch(network, input_size))
    except Exception as error:  # whatever a foreign network raises
        size = "x".join(map(str, input_size))
        raise UserError(
            f"The backbone {name} does not run on inputs of {size} ({type(error).__name__}: "
            f"{str(error).rstrip('.')}). dataset.image_size=N gives it larger ones; networks that "
            "are built for one size often take it as backbone.kwargs.img_size=N."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls


@contextmanager
def mode(network: nn.Module, training: bool) -> Iterator[None]:
    """Put a network in training or evaluation mode for a while, every module by itself."""
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def first_tensor(value: Any) -> Tensor:
    """The first tensor in a nest of tuples, lists and dicts that has one."""
    return tensors(value)[0]
