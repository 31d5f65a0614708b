"""What a student costs to deploy and a run costs to train."""

import resource
import sys

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdzoo.peers.observe import mode


def measure_cost(network: nn.Module, input_size: tuple[int, int, int]) -> dict[str, int]:
    """A network's ``params`` and its ``macs``, multiply-adds for one image (papers' "FLOPs").

    Args:
        network: on the CPU.
        input_size: (C, H, W).
    """
    counter = FlopCounterMode(display=False)
    # the plain attention is made of products that the counter knows
    with mode(network, training=False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(torch.zeros(1, *input_size))
    return {
        "params": sum(p.numel() for p in network.parameters()),
        "macs": counter.get_total_flops() // 2,
    }


def peak_memory(device: torch.device) -> int:
    """The most memory, in bytes, used so far: of the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
