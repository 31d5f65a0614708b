"""Whether a network can be trained on batches of one sample; most batch norm on 1x1 maps cannot."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdzoo.errors import ConfigError
from kdzoo.peers.calls import mode

ONE_VALUE = "Expected more than 1 value per channel when training"


@torch.compiler.disable
@torch.no_grad()
def check_one_sample(
    network: nn.Module, x: Tensor, run: Callable[[Tensor], object] | None = None
) -> None:
    """Make sure that no batch norm of a network is left with one value a channel.

    Args:
        network: it is run in training mode and left as it was.
        x: a batch of one sample.
        run: what is called with ``x``; by default the network.

    Raises:
        ConfigError: one is, and has no variance to divide by; the message names it.
    """
    entered: list[tuple[str, int]] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: entered.append((name, inputs[0].ndim))
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with (
            mode(network, training=True),
            torch.random.fork_rng(devices=[x.device] if x.is_cuda else []),
        ):
            (run or network)(x)
    except ValueError as error:
        if ONE_VALUE not in str(error) or not entered:
            raise
        name, dimensions = entered[-1]
        what, instead = "", ""
        if dimensions > 2:
            what, instead = " and its 1x1 map", ", or take larger images (dataset.image_size)"
        raise ConfigError(
            f"The batch norm '{name}' cannot be trained on one sample{what}: a single value has no "
            f"variance. Give each process two samples or more{instead}."
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, before in buffers:  # training mode counts batches and moves averages
            buffer.copy_(before)
