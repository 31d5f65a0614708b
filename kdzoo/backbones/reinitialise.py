"""New weights for a copy of a network whose way of initialising is unknown: a shuffle."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from kdzoo.errors import UserError


@torch.no_grad()
def reinitialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw every weight of a network again, in place, and return it.

    The entries of each trainable parameter are shuffled: layers are initialised with independent,
    equally distributed entries, so this draws again from whatever distribution the author chose,
    and leaves what is constant (a scale of 1, a bias or a last layer of 0) as it is, which
    ``reset_parameters`` would not. Frozen parameters keep their values.

    Args:
        network: the network to change.
        generator: a CPU generator that decides the shuffles.

    Raises:
        UserError: batch norm has seen data, so these are trained weights, which would be lost.
    """
    if any(_has_seen_data(module) for module in network.modules()):
        raise UserError(
            f"This {type(network).__name__} has been trained, and peers start from new weights. "
            "To train from these weights, pass a function that builds the network and loads them; "
            "to train from scratch, pass the class or a function that builds a new network."
        )
    for parameter in network.parameters():
        if parameter.requires_grad:
            order = torch.randperm(parameter.numel(), generator=generator)
            shuffled = parameter.flatten()[order.to(parameter.device)]
            parameter.copy_(shuffled.view_as(parameter))
    return network


def _has_seen_data(module: nn.Module) -> bool:
    # num_batches_tracked is None where running statistics are switched off
    return (
        isinstance(module, _NormBase)
        and module.num_batches_tracked is not None
        and bool(module.num_batches_tracked > 0)
    )
