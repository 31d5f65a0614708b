"""Which parts of networks are computed with the fused kernels: kdzoo's ResNets, their stems too."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from torch import Tensor, fx, nn

from kdzoo.backbones.resnet import BasicBlock, Bottleneck, ResNet
from kdzoo.kernels.conv_norm_act import conv_norm_act
from kdzoo.kernels.fits import is_plain
from kdzoo.peers.subnetwork import GraphFunction, Subnetwork


def can_be_fused(network: nn.Module) -> bool:
    """Whether there is a residual block in a network that the kernels are made for."""
    return any(type(module) in _BLOCKS for module in network.modules())


def fuse(network: nn.Module) -> None:
    """Let a network, and all that is in it, compute with the fused kernels, where those fit.

    What it computes is the same but for rounding, and so are its modules, their names and weights.
    """
    for module in network.modules():
        # partial() of the module itself: its deep copies, and what is unpickled, have their own
        if type(module) in _BLOCKS and "forward" not in vars(module):
            vars(module)["forward"] = partial(_BLOCKS[type(module)], module)
        elif type(module) is ResNet and "forward_features" not in vars(module):
            vars(module)["forward_features"] = partial(_features, module)
        elif isinstance(module, Subnetwork):
            module.train_flow = GraphFunction(_fused(module.train_flow.graph, module))


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
    match list(block.downsample.children()):
        case [nn.Conv2d() as conv, nn.BatchNorm2d() as norm] if is_plain(
            block.downsample, nn.Sequential
        ):
            return _stem(x, conv, norm, None)
        case _:
            return block.downsample(x)


_BLOCKS: dict[type[nn.Module], Callable[..., Any]] = {
    BasicBlock: _basic_block,
    Bottleneck: _bottleneck,
}


def _features(network: ResNet, x: Tensor) -> Tensor:
    x = _stem(x, network.conv1, network.bn1, network.relu)
    return network.layer3(network.layer2(network.layer1(x)))


def _stem(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, act: nn.ReLU | None) -> Tensor:
    return conv_norm_act(x, conv, norm, act)[0]


def _fused(graph: fx.Graph, module: nn.Module) -> fx.Graph:
    """A copy of a graph with convolution, batch norm and ReLU as one step, wherever they are."""
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    for conv in list(copy.nodes):
        if not _calls(conv, module, nn.Conv2d):
            continue
        norm = _only_user_and_next(conv)
        if norm is None or not _calls(norm, module, nn.BatchNorm2d):
            continue
        act = _only_user_and_next(norm)
        if act is not None and not _calls(act, module, nn.ReLU):
            act = None
        last = norm if act is None else act
        with copy.inserting_before(last):
            names = [one and cast(str, one.target) for one in (conv, norm, act)]
            layers = [name and copy.get_attr(name) for name in names]
            step = copy.call_function(_stem, (conv.args[0], *layers))
        last.replace_all_uses_with(step)
        for node in (act, norm, conv):
            if node is not None:
                copy.erase_node(node)
    return copy


def _calls(node: fx.Node, module: nn.Module, layer: type[nn.Module]) -> bool:
    """Whether a node is the call of such a layer with one value and nothing else."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return False
    return type(module.get_submodule(cast(str, node.target))) is layer


def _only_user_and_next(node: fx.Node) -> fx.Node | None:
    """What alone uses a node and comes right after it: nothing changes in between."""
    return node.next if list(node.users) == [node.next] else None
