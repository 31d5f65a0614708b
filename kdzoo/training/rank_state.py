"""What each process (rank) has for itself in mid-epoch, and how another number of them goes on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.seeding import random_state
from kdzoo.training.tally import Tally, add_sums

RankState = dict[str, Any]
"""``random``: torch's global state, None where it is to be drawn anew; ``tally``: the sums so far;
``statistics``: buffers that are of what the process has seen alone, until the end of the epoch."""


def rank_state(modules: Mapping[str, nn.Module], tally: Tally, device: torch.device) -> RankState:
    """This process's own, on the CPU.

    Args:
        modules: that are trained, and means of them, by the prefix of their statistics' names.
        tally: the metrics.
        device: whose random state is kept.
    """
    return {
        "random": random_state(device),
        "tally": {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in tally.state_dict().items()
        },
        "statistics": {name: buffer.cpu() for name, buffer in _statistics(modules)},
    }


def redistribute(states: Sequence[RankState], rank: int, world_size: int) -> RankState:
    """What a process gets of what the processes before had.

    As many as before take up each its own. Of another number, the first gets all the sums, and each
    the mean of the statistics, which is what all get at the end of the epoch.

    Args:
        states: of all processes that trained so far, in order.
        rank: of the process that goes on.
        world_size: how many go on.
    """
    if len(states) == world_size:
        return states[rank]
    statistics = {
        name: torch.stack([state["statistics"][name] for state in states]).mean(dim=0)
        for name in states[0]["statistics"]
    }
    total = add_sums([state["tally"] for state in states], nothing=rank > 0)
    return {"random": None, "tally": total, "statistics": statistics}


@torch.no_grad()
def set_statistics(modules: Mapping[str, nn.Module], state: RankState) -> None:
    """Put a process's statistics into the modules, as :func:`rank_state` takes them."""
    buffers = dict(_statistics(modules))
    for name, value in state["statistics"].items():
        buffers[name].copy_(value)


def _statistics(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in modules.items():
        parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        for name, value in module.state_dict().items():
            if name not in parameters and isinstance(value, Tensor) and value.is_floating_point():
                yield prefix + name, value
