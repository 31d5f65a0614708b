"""Cut a network in two after one of its stages: a trunk, and a branch that continues it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from kdzoo.backbones.backbone import Backbone
from kdzoo.errors import UserError, nearest
from kdzoo.peers.anatomy import Anatomy, Stage
from kdzoo.peers.cut import Halves, cut
from kdzoo.peers.observe import first_tensor, mode, probe_batch
from kdzoo.peers.part import Part, PartPlan, compiled
from kdzoo.peers.seam import Seam, batch_axes
from kdzoo.peers.trace import ancestors, trace

SHARED = 2 / 3
"""How much of an isotropic network is trunk: what the papers share of a three-stage ResNet."""


@dataclass(frozen=True)
class Split:
    """How to cut networks of one architecture.

    Attributes:
        trunk: x [B, C, H, W] -> the values that cross, the output of the last shared stage first.
        branch: those values -> (the network's output, embedding, last stage's features).
        stage: the last one of the trunk.
        seams: what the values that cross are like, in training mode (True) and evaluation (False).
    """

    trunk: PartPlan
    branch: PartPlan
    stage: Stage
    seams: dict[bool, Seam]


def split(backbone: Backbone, network: nn.Module, parts: Anatomy) -> Split:
    """Find out how to cut networks of a backbone where its ``split_at`` says.

    Args:
        backbone: says where.
        network: one that the backbone built. It is run and changed: use it for nothing else.
        parts: the network's anatomy.

    Raises:
        UserError: there is no such stage, or the network cannot be cut there.
    """
    stage = cut_stage(backbone.split_at, parts)
    opened = ancestors([stage.name, parts.stages[-1].name, parts.classifier])
    try:
        halves = {}
        for training in (True, False):
            with mode(network, training):
                halves[training] = cut(trace(network, opened), stage.name, parts)
    except Exception as error:  # whatever foreign code raises when it is given symbols
        raise _cannot(backbone, stage, f"{type(error).__name__}: {error}") from error
    trunk, branch, shared = _plans(network, halves)
    if shared:
        raise _cannot(backbone, stage, f"{', '.join(shared)} is used before and after the cut")
    seams = {t: _seam(backbone, network, stage, trunk, branch, t) for t in (True, False)}
    return Split(trunk, branch, stage, seams)


def cut_stage(split_at: str | int | float | None, parts: Anatomy) -> Stage:
    """The last stage of the trunk: by name, by number from 1, or by its share of the stages.

    Raises:
        UserError: there is no such stage.
    """
    count = len(parts.stages)
    if split_at is None:
        number = round(SHARED * count) if parts.isotropic else count - 1
    elif isinstance(split_at, str):
        if split_at not in parts.called or not split_at:
            names = [stage.name for stage in parts.stages]
            choices = names if len(names) < 20 else list(parts.called)
            raise UserError(
                f"backbone.split_at: no stage '{split_at}'. {nearest(split_at, choices)}"
            )
        return parts.stage(split_at)
    elif isinstance(split_at, float) and 0 < split_at < 1:
        number = round(split_at * count)
    else:
        number = int(split_at)
    if not 1 <= number <= count:
        raise UserError(
            f"backbone.split_at: {split_at!r} leaves no stage on one side; the stages are 1 "
            f"({parts.stages[0].name}) to {count} ({parts.stages[-1].name}), and a fraction is "
            "of them."
        )
    return parts.stages[number - 1]


def _plans(network: nn.Module, halves: dict[bool, Halves]) -> tuple[PartPlan, PartPlan, list[str]]:
    """The two parts, and the units with state that both would need."""
    trunk_used, trunk_constants = _used(network, [half.trunk for half in halves.values()])
    branch_used, branch_constants = _used(network, [half.branch for half in halves.values()])
    used = trunk_used | branch_used
    whole = {path for path in used if not ancestors([path]) - {path} & used}
    opened = ancestors(whole)
    units = dict(_units(network, "", opened))
    in_trunk = _holding(units, trunk_used)
    in_branch = _holding(units, branch_used) | (units.keys() - in_trunk)
    of_branch = {id(tensor) for path in in_branch for tensor in _state(units[path])}
    shared = sorted(p for p in in_trunk if any(id(t) in of_branch for t in _state(units[p])))
    forward = {t: (compiled(half.trunk), compiled(half.branch)) for t, half in halves.items()}
    return (
        PartPlan(forward[True][0], forward[False][0], in_trunk, opened, trunk_constants),
        PartPlan(forward[True][1], forward[False][1], in_branch, opened, branch_constants),
        shared,
    )


def _used(network: nn.Module, graphs: list[fx.Graph]) -> tuple[frozenset[str], dict[str, Any]]:
    """The modules and state that graphs use, and the constants among their attributes."""
    used, constants = set(), {}
    for graph in graphs:
        for node in graph.nodes:
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


def _units(module: nn.Module, path: str, opened: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """What opened modules are made of: parameters, buffers, and modules that are not opened."""
    prefix = f"{path}." if path else ""
    for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
        if tensor is not None:
            yield prefix + name, tensor
    for name, child in module._modules.items():
        if child is None:
            continue
        if prefix + name in opened:
            yield from _units(child, prefix + name, opened)
        else:
            yield prefix + name, child


def _holding(units: dict[str, Any], used: frozenset[str]) -> frozenset[str]:
    """The units that are used or hold what is used, under every name they go by."""
    objects = {id(units[p]) for p in units if any(u == p or u.startswith(f"{p}.") for u in used)}
    return frozenset(path for path, unit in units.items() if id(unit) in objects)


def _state(unit: nn.Module | Tensor) -> list[Tensor]:
    if isinstance(unit, Tensor):
        return [unit]
    return list(unit.state_dict(keep_vars=True).values())


@torch.no_grad()
def _seam(
    backbone: Backbone,
    network: nn.Module,
    stage: Stage,
    trunk_plan: PartPlan,
    branch_plan: PartPlan,
    training: bool,
) -> Seam:
    """Run both parts after each other, compare with the whole network, and watch the seam."""
    trunk, branch = Part(network, trunk_plan), Part(network, branch_plan)
    x = probe_batch(network, backbone.input_size)
    with mode(network, training), torch.random.fork_rng(devices=[]):
        trunk.train(training)
        branch.train(training)
        torch.manual_seed(0)
        expected = first_tensor(network(x))
        torch.manual_seed(0)
        values = trunk(x)
        versions = [_version(value) for value in pytree.tree_leaves(values)]
        got = first_tensor(branch(*values)[0])
        overwritten = [
            _version(value) != before
            for value, before in zip(pytree.tree_leaves(values), versions, strict=True)
        ]
        if not torch.equal(expected, got):
            raise _cannot(backbone, stage, "the two parts together compute something else")
        smaller = trunk(x[:-1])
    return Seam(batch_axes(smaller, values), tuple(overwritten))


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0


def _cannot(backbone: Backbone, stage: Stage, reason: str) -> UserError:
    return UserError(
        f"The backbone {backbone.name} cannot be cut after '{stage.name}' ({reason}). Choose "
        "another backbone.split_at, or layout=independent, which works for every network."
    )
