"""The residual blocks of kdzoo's ResNets, computed with the fused kernels."""

from collections.abc import Callable
from types import MethodType
from typing import Any, cast

from torch import Tensor, nn

from kdzoo.backbones.resnet import BasicBlock, Bottleneck
from kdzoo.kernels.conv_norm_act import conv_norm_act


def fusible_blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network that :func:`fuse_blocks` changes."""
    return [
        block
        for block in network.modules()
        if type(block) in _FORWARD and "forward" not in vars(block)
    ]


def fuse_blocks(network: nn.Module) -> None:
    """Let the blocks of a network compute with the fused kernels, where those fit.

    What they compute is the same but for rounding, and so are their weights and their names.
    """
    for block in fusible_blocks(network):
        # a bound method: a deep copy of the block has its own
        vars(block)["forward"] = MethodType(_FORWARD[type(block)], block)


def _basic_block(block: BasicBlock, x: Tensor) -> Tensor:
    out, x = conv_norm_act(x, block.conv1, block.bn1, block.relu)
    out, _ = conv_norm_act(out, block.conv2, block.bn2, block.relu, _shortcut(block, x))
    return out


def _bottleneck(block: Bottleneck, x: Tensor) -> Tensor:
    out, x = conv_norm_act(x, block.conv1, block.bn1, block.relu)
    out, _ = conv_norm_act(out, block.conv2, block.bn2, block.relu)
    out, _ = conv_norm_act(out, block.conv3, block.bn3, block.relu, _shortcut(block, x))
    return out


def _shortcut(block: BasicBlock | Bottleneck, x: Tensor) -> Tensor:
    if isinstance(block.downsample, nn.Identity):
        return x
    conv, norm = cast(tuple[nn.Conv2d, nn.BatchNorm2d], tuple(block.downsample.children()))
    return conv_norm_act(x, conv, norm)[0]


_FORWARD: dict[type[nn.Module], Callable[..., Any]] = {
    BasicBlock: _basic_block,
    Bottleneck: _bottleneck,
}
