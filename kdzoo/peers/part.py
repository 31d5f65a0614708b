"""A stretch of a network that runs by itself, under the network's own parameter names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

Forward = Callable[..., Any]


@dataclass(frozen=True)
class PartPlan:
    """Which pieces of a network make a part, and how data flows through them.

    Attributes:
        train: the part's forward in training mode; its first argument is the ``Part``.
        evaluate: the same in evaluation mode.
        units: the paths of the modules, parameters and buffers that the part holds.
        opened: the paths of the modules that are taken apart into units.
        constants: values that tracing came by which are no state of the network, by path.
    """

    train: Forward
    evaluate: Forward
    units: frozenset[str]
    opened: frozenset[str]
    constants: Mapping[str, Any]


class Part(nn.Module):
    """A part of one particular network, whose modules it takes over (it does not copy them).

    The names in its state dict are the network's. It can be deep-copied, moved and compiled as any
    module can.
    """

    def __init__(self, network: nn.Module, plan: PartPlan) -> None:
        super().__init__()
        _take(network, "", self, plan)
        for path, value in plan.constants.items():
            _keep_constant(self, path, value)
        # functions made from the graph are plain attributes, which copies of a module share
        self._train = plan.train
        self._evaluate = plan.evaluate

    def forward(self, *inputs: Any) -> Any:
        run = self._train if self.training else self._evaluate
        return run(self, *inputs)


def as_function(graph: fx.Graph) -> Forward:
    """A graph as a function of (module, *placeholders)."""
    code = graph.python_code("self")
    namespace = dict(code.globals)
    exec(code.src, namespace)
    return namespace["forward"]


def _take(source: nn.Module, path: str, target: nn.Module, plan: PartPlan) -> None:
    prefix = f"{path}." if path else ""
    target.training = source.training
    for name, child in source._modules.items():
        if child is None:
            continue
        if prefix + name in plan.opened:
            container = nn.Module()
            _take(child, prefix + name, container, plan)
            if container._modules or container._parameters or container._buffers:
                target.add_module(name, container)
        elif prefix + name in plan.units:
            target.add_module(name, child)
    for name, parameter in source._parameters.items():
        if prefix + name in plan.units:
            target.register_parameter(name, parameter)
    for name, buffer in source._buffers.items():
        if prefix + name in plan.units:
            persistent = name not in source._non_persistent_buffers_set
            target.register_buffer(name, buffer, persistent=persistent)


def _keep_constant(part: nn.Module, path: str, value: Any) -> None:
    *holders, name = path.split(".")
    target = part
    for holder in holders:
        if holder not in target._modules:
            target.add_module(holder, nn.Module())
        target = target.get_submodule(holder)
    if isinstance(value, Tensor):
        target.register_buffer(name, value.detach().clone(), persistent=False)
    else:
        setattr(target, name, value)
