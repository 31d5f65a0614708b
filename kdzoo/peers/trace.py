"""The data flow of a network as a torch.fx graph, traced no deeper than is needed to cut it."""

import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import Attribute, Proxy, TraceError


def ancestors(names: Iterable[str]) -> frozenset[str]:
    """The modules that hold any of these, the network itself ("") among them."""
    return frozenset(
        ".".join(name.split(".")[:depth]) for name in names for depth in range(name.count(".") + 1)
    )


def trace(network: nn.Module, opened: frozenset[str], x: Tensor) -> fx.Graph:
    """The graph of ``network(x)`` in the mode, training or evaluation, that the network is in.

    Only the ``forward`` of the modules named in ``opened`` is looked into. All other modules are
    steps of the graph and run their own code, so that nothing of theirs has to be traceable, or is
    frozen into the graph. Where code branches, loops or counts on something that is the same for
    every batch, such as the size of a map, it is traced for the size that ``x`` gives.
    ``node.meta["path"]`` is the module that a node belongs to.

    Args:
        network: it may be run, and changed as running it does.
        opened: the paths of modules; with each, those of the modules that hold it.
        x: [B, C, H, W], B > 2, a batch to find out such sizes with.

    Raises:
        TraceError: the flow depends on the values in the batch, or on how many samples there are.
        Exception: whatever a ``forward`` raises when it is run on symbols in place of tensors.
    """
    graph = _Tracer(opened, x).trace(network)
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        if not node.users:  # as of ``if self.cls_token is not None``
            graph.erase_node(node)
        elif _is_computed_from_weights(network, node.target):
            raise TraceError(f"{node.target} is computed from weights, out of sight")
    return graph


class _Tracer(fx.Tracer):
    def __init__(self, opened: frozenset[str], x: Tensor) -> None:
        super().__init__(autowrap_modules=(math,), autowrap_functions=_timm_leaf_functions())
        self.opened = opened
        self.runs = [_Run(x), _Run(x[:-1])]
        self.running = False
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

    def proxy(self, node: fx.Node) -> Proxy:
        return _Symbol(node, self)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.running:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        # Weights and buffers become symbols, or else what is computed from them alone, such as a
        # resized position embedding, would become a constant without a gradient.
        if not self.running and isinstance(attr_val, Tensor) and id(attr_val) in self.state:
            return self.create_proxy("get_attr", self.state[id(attr_val)], (), {})
        return attr_val

    def to_bool(self, obj: Proxy) -> bool:
        return bool(self.known(obj))

    def iter(self, obj: Any) -> Iterator[Any]:
        return (obj[i] for i in range(self.length(obj)))

    def length(self, obj: Proxy) -> int:
        """How many items a symbol holds, where that is the same for every batch."""
        one, other = (len(value) for value in self.values(obj))
        if one != other:
            raise TraceError(f"the code counts {obj.node.name}, which depends on the batch")
        return one

    def known(self, obj: Proxy) -> Any:
        """The value that a symbol has for every batch."""
        one, other = self.values(obj)
        if isinstance(one, Tensor) or one != other:
            raise TraceError(f"the code depends on {obj.node.name}, which depends on the batch")
        return one

    def values(self, obj: Proxy) -> list[Any]:
        """The values that a symbol has for a batch and for a smaller one."""
        node = obj.node
        self.running = True  # the tracer has taken over the calls of all modules meanwhile
        try:
            return [run.value_of(node, self.root) for run in self.runs]
        finally:
            self.running = False


class _Run:
    """One run of a graph that still grows, as far as it is asked for."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.values: dict[fx.Node, Any] = {}

    @torch.no_grad()
    def value_of(self, node: fx.Node, root: nn.Module) -> Any:
        with torch.random.fork_rng(devices=[]):
            for earlier in node.graph.nodes:
                if earlier not in self.values:
                    self.values[earlier] = self._step(earlier, root)
        return self.values[node]

    def _step(self, node: fx.Node, root: nn.Module) -> Any:
        target: Any = node.target
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        match node.op:
            case "placeholder":
                return self.x
            case "get_attr":
                return operator.attrgetter(target)(root)
            case "call_module":
                return root.get_submodule(target)(*args, **kwargs)
            case "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            case _:
                return target(*args, **kwargs)


class _KnownWhenAsked:
    """What Python may ask of a symbol and a symbol cannot answer by itself."""

    def __len__(self: Any) -> int:
        return self.tracer.length(self)

    def __index__(self: Any) -> int:
        return operator.index(self.tracer.known(self))

    def __int__(self: Any) -> int:
        return int(self.tracer.known(self))

    def __getattr__(self: Any, name: str) -> Any:
        return _SymbolAttribute(self, name)


class _Symbol(_KnownWhenAsked, Proxy):
    """A value that will be computed."""


class _SymbolAttribute(_KnownWhenAsked, Attribute):
    """An attribute of such a value."""


def _timm_leaf_functions() -> tuple[Callable[..., Any], ...]:
    """The functions that timm says must not be looked into; a timm model implies it is loaded."""
    timm_layers = sys.modules.get("timm.layers")
    return tuple(timm_layers.get_notrace_functions()) if timm_layers else ()


def _is_computed_from_weights(network: nn.Module, name: str) -> bool:
    value = operator.attrgetter(name)(network)
    return isinstance(value, Tensor) and value.grad_fn is not None
