"""The data flow of a network as a torch.fx graph, traced no deeper than is needed to cut it."""

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn


def ancestors(names: Iterable[str]) -> frozenset[str]:
    """The modules that hold any of these, the network itself ("") among them."""
    return frozenset(
        ".".join(name.split(".")[:depth]) for name in names for depth in range(name.count(".") + 1)
    )


def trace(network: nn.Module, opened: frozenset[str]) -> fx.Graph:
    """The graph of ``network(x)`` in the mode, training or evaluation, that the network is in.

    Only the ``forward`` of the modules named in ``opened`` is looked into. All other modules are
    steps of the graph and run their own code, so that nothing of theirs has to be traceable, or is
    frozen into the graph. ``node.meta["path"]`` of each node is the module it belongs to.

    Raises:
        Exception: whatever a ``forward`` raises when it is run on symbols in place of tensors.
    """
    graph = _Tracer(opened).trace(network)
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        if not node.users:  # as of ``if self.cls_token is not None``
            graph.erase_node(node)
        elif _is_computed_from_weights(network, node.target):
            raise fx.proxy.TraceError(f"{node.target} is computed from weights, out of sight")
    return graph


class _Tracer(fx.Tracer):
    def __init__(self, opened: frozenset[str]) -> None:
        super().__init__(autowrap_modules=(math,), autowrap_functions=_timm_leaf_functions())
        self.opened = opened
        self.state: dict[int, str] = {}

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        named = [*root.named_parameters(), *root.named_buffers()]
        self.state = {id(tensor): name for name, tensor in named}
        return super().trace(root, concrete_args)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        # one input; every other argument of forward() keeps its default, as in network(x)
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.opened

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        inside = [path for path, _ in self.module_stack.values()]
        node.meta["path"] = inside[-1] if inside else ""
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        # Weights and buffers become symbols, or else what is computed from them alone, such as a
        # resized position embedding, would become a constant without a gradient.
        if isinstance(attr_val, Tensor) and id(attr_val) in self.state:
            node = self.create_node("get_attr", self.state[id(attr_val)], (), {})
            return _State(node, self, attr_val)
        return attr_val


class _State(fx.Proxy):
    """A symbol for a weight or buffer. Its shape is known, and code may depend on it."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, value: Tensor) -> None:
        super().__init__(node, tracer)
        self.shape = value.shape
        self.ndim = value.ndim

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return self.shape.numel()

    def __len__(self) -> int:
        return self.shape[0]


def _timm_leaf_functions() -> tuple[Callable[..., Any], ...]:
    """The functions that timm says must not be looked into; a timm model implies it is loaded."""
    timm_layers = sys.modules.get("timm.layers")
    return tuple(timm_layers.get_notrace_functions()) if timm_layers else ()


def _is_computed_from_weights(network: nn.Module, name: str) -> bool:
    owner, _, attribute = name.rpartition(".")
    value = getattr(network.get_submodule(owner), attribute)
    return isinstance(value, Tensor) and value.grad_fn is not None
