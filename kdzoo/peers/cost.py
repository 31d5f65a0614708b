"""What a network costs: its parameters and its multiply-adds, which papers call FLOPs or MACs.

The one place that counts FLOPs, with PyTorch's FlopCounterMode.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdzoo.peers.calls import mode, probe_batch


@dataclass(frozen=True)
class Cost:
    """Of a network or a part of it.

    Attributes:
        parameters: how many.
        multiply_adds: of convolutions, linear layers and attention, for one sample. Papers often
            call these FLOPs; a multiplication and an addition are one.
    """

    parameters: int
    multiply_adds: int

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters - other.parameters, self.multiply_adds - other.multiply_adds)


def measure_cost(network: nn.Module, input_size: tuple[int, int, int]) -> dict[str, int]:
    """A network's ``params`` and its ``macs``, multiply-adds for one image (papers' "FLOPs").

    Args:
        network: any.
        input_size: (C, H, W).
    """
    total = cost_until(network, input_size)[""]
    return {"params": total.parameters, "macs": total.multiply_adds}


@torch.no_grad()
def cost_until(
    network: nn.Module, input_size: tuple[int, int, int], ends: Iterable[str] = ()
) -> dict[str, Cost]:
    """The cost of everything up to the end of some modules, and of the whole network as ``""``.

    Args:
        network: it is run once, in evaluation mode, and left as it was.
        input_size: (C, H, W).
        ends: the paths of modules that it calls.

    Returns:
        by path; parameters count as soon as their module is called, and in the whole in any case.
    """
    entered: set[nn.Parameter] = set()
    costs: dict[str, Cost] = {}
    counter = FlopCounterMode(display=False)
    names = {network.get_submodule(end): end for end in ends}

    def enter(module: nn.Module, args: Any) -> None:
        entered.update(module.parameters(recurse=False))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        costs[names[module]] = Cost(sum(p.numel() for p in entered), _multiply_adds(counter))

    hooks = [module.register_forward_pre_hook(enter) for module in network.modules()]
    hooks += [module.register_forward_hook(leave) for module in names]
    try:
        # the plain attention is made of products that the counter knows
        with mode(network, training=False), sdpa_kernel(SDPBackend.MATH), counter:
            network(probe_batch(network, input_size, samples=1))
    finally:
        for hook in hooks:
            hook.remove()
    whole = Cost(sum(p.numel() for p in network.parameters()), _multiply_adds(counter))
    return {**costs, "": whole}


def _multiply_adds(counter: FlopCounterMode) -> int:
    """So far; PyTorch counts a multiplication and an addition as two."""
    return counter.get_total_flops() // 2
