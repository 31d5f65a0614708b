"""A stretch of a network that runs by itself, under the network's own parameter names.

A network split in two gives a trunk and a branch. Which modules, parameters and buffers each of
them holds is planned from the torch.fx graphs of both.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from kdzoo.peers.cut import Halves
from kdzoo.peers.trace import ancestors

Piece = nn.Module | Tensor


class GraphFunction:
    """A torch.fx graph as a function of (module, *placeholders).

    Copies of a module share it.

    Attributes:
        graph: it is not to be changed.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        code = graph.python_code("self")
        namespace = dict(code.globals)
        exec(code.src, namespace)
        self._call: Callable[..., Any] = namespace["forward"]

    def __call__(self, module: nn.Module, *inputs: Any) -> Any:
        return self._call(module, *inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "GraphFunction":
        return self


@dataclass(frozen=True)
class SubnetworkPlan:
    """Which pieces of a network make a subnetwork, and how data flows through them.

    Attributes:
        train: its forward in training mode; the first argument is the ``Subnetwork``.
        evaluate: the same in evaluation mode.
        pieces: the paths of the modules, parameters and buffers that it holds.
        opened: the paths of the modules that are taken apart into pieces.
        constants: values that tracing came by which are no state of the network, by path.
    """

    train: GraphFunction
    evaluate: GraphFunction
    pieces: frozenset[str]
    opened: frozenset[str]
    constants: Mapping[str, Any]


class Subnetwork(nn.Module):
    """A stretch of one particular network, whose modules it takes over (it does not copy them).

    Attributes:
        train_flow: how data flows through them in training mode. A trainer may set another way.

    The names in its state dict are the network's. It can be deep-copied, moved and compiled as any
    module can.
    """

    def __init__(self, network: nn.Module, plan: SubnetworkPlan) -> None:
        super().__init__()
        _take(network, "", self, plan)
        for path, value in plan.constants.items():
            _keep_constant(self, path, value)
        self.train_flow = plan.train
        self._evaluate = plan.evaluate

    def forward(self, *inputs: Any) -> Any:
        run = self.train_flow if self.training else self._evaluate
        return run(self, *inputs)


@dataclass(frozen=True)
class SplitPlans:
    """The plans of trunk and branch.

    Attributes:
        trunk: of the trunk.
        branch: of the branch. What the network holds and never uses goes to the branch as well.
        shared: what both would need the state of; there is no splitting unless it is empty.
    """

    trunk: SubnetworkPlan
    branch: SubnetworkPlan
    shared: tuple[str, ...]


def plan_split(network: nn.Module, train: Halves, evaluate: Halves) -> SplitPlans:
    """Plan trunk and branch of a network from its cut graphs of training and evaluation mode."""
    trunk_uses, trunk_constants = _uses(network, train.trunk, evaluate.trunk)
    branch_uses, branch_constants = _uses(network, train.branch, evaluate.branch)
    uses = trunk_uses | branch_uses
    outermost = {path for path in uses if not ancestors([path]) & uses}
    opened = ancestors(outermost)
    pieces = dict(_pieces(network, "", opened))
    in_trunk = _under_any_name(pieces, trunk_uses)
    in_branch = _under_any_name(pieces, branch_uses)
    trunk_state = _state(pieces, in_trunk)
    unused = pieces.keys() - in_trunk - in_branch
    # one more name for state of the trunk, and not something of its own
    names = {path for path in unused if _state(pieces, {path}) & trunk_state}
    in_trunk |= names
    in_branch |= unused - names
    shared_state = trunk_state & _state(pieces, in_branch)
    shared = sorted(path for path in in_trunk if _state(pieces, {path}) & shared_state)
    trunk = SubnetworkPlan(
        train=GraphFunction(train.trunk),
        evaluate=GraphFunction(evaluate.trunk),
        pieces=in_trunk,
        opened=opened,
        constants=trunk_constants,
    )
    branch = SubnetworkPlan(
        train=GraphFunction(train.branch),
        evaluate=GraphFunction(evaluate.branch),
        pieces=in_branch,
        opened=opened,
        constants=branch_constants,
    )
    return SplitPlans(trunk, branch, tuple(shared))


def _uses(network: nn.Module, *graphs: fx.Graph) -> tuple[frozenset[str], dict[str, Any]]:
    """The paths of modules and state that graphs use, and the constants among their attributes."""
    used = set()
    constants = {}
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op == "call_module":
            used.add(node.target)
        elif node.op == "get_attr":
            owner, _, name = node.target.rpartition(".")
            module = network.get_submodule(owner)
            if name in module._parameters or name in module._buffers or name in module._modules:
                used.add(node.target)
            else:
                constants[node.target] = getattr(module, name)
    return frozenset(used), constants


def _pieces(module: nn.Module, path: str, opened: frozenset[str]) -> Iterator[tuple[str, Piece]]:
    """What opened modules are made of: parameters, buffers, and modules that are not opened."""
    prefix = f"{path}." if path else ""
    for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
        if tensor is not None:
            yield prefix + name, tensor
    for name, child in module._modules.items():
        if child is None:
            continue
        if prefix + name in opened:
            yield from _pieces(child, prefix + name, opened)
        else:
            yield prefix + name, child


def _under_any_name(pieces: dict[str, Piece], uses: frozenset[str]) -> frozenset[str]:
    """The pieces that are used or hold what is used, with every name they go by."""
    holders = {path for use in uses for path in {use, *ancestors([use])} & pieces.keys()}
    objects = {id(pieces[path]) for path in holders}
    return frozenset(path for path, piece in pieces.items() if id(piece) in objects)


def _state(pieces: dict[str, Piece], paths: frozenset[str] | set[str]) -> set[int]:
    """The identities of the parameters and persistent buffers of some pieces."""
    state = set()
    for piece in (pieces[path] for path in paths):
        held = [piece] if isinstance(piece, Tensor) else piece.state_dict(keep_vars=True).values()
        state |= {id(tensor) for tensor in held}
    return state


def _take(source: nn.Module, path: str, target: nn.Module, plan: SubnetworkPlan) -> None:
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
        elif prefix + name in plan.pieces:
            target.add_module(name, child)
    for name, parameter in source._parameters.items():
        if prefix + name in plan.pieces:
            target.register_parameter(name, parameter)
    for name, buffer in source._buffers.items():
        if prefix + name in plan.pieces:
            persistent = name not in source._non_persistent_buffers_set
            target.register_buffer(name, buffer, persistent=persistent)


def _keep_constant(subnetwork: nn.Module, path: str, value: Any) -> None:
    *holders, name = path.split(".")
    target: nn.Module = subnetwork
    for holder in holders:
        if holder not in target._modules:
            target.add_module(holder, nn.Module())
        target = target.get_submodule(holder)
    if isinstance(value, Tensor):
        target.register_buffer(name, value.detach().clone(), persistent=False)
    else:
        setattr(target, name, value)
