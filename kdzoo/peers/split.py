"""Split a network after one of its stages (``split_at``): a trunk, and a branch that continues it.

The network is traced with torch.fx, its graph is cut, and trunk and branch are run after each other
and compared with the whole.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.logits import logits_of, tensors
from kdzoo.errors import UserError, nearest
from kdzoo.peers.anatomy import Anatomy, Stage
from kdzoo.peers.calls import mode, probe_batch
from kdzoo.peers.crossing import Crossing, batch_axes
from kdzoo.peers.cut import cut
from kdzoo.peers.subnetwork import SplitPlans, Subnetwork, SubnetworkPlan, plan_split
from kdzoo.peers.trace import ancestors, trace

SHARED = 2 / 3
"""How much of an isotropic network is trunk: what the papers share of a three-stage ResNet."""


@dataclass(frozen=True)
class NetworkSplit:
    """How to split networks of one architecture.

    Attributes:
        trunk: x [B, C, H, W] -> the values that cross, the output of the last shared stage first.
        branch: those values -> (the network's output, embedding, last stage's features, outputs of
            the watched stages).
        stage: the last one of the trunk.
        train_crossing: what the values that cross are like in training mode.
        eval_crossing: the same in evaluation mode.
    """

    trunk: SubnetworkPlan
    branch: SubnetworkPlan
    stage: Stage
    train_crossing: Crossing
    eval_crossing: Crossing

    def crossing(self, training: bool) -> Crossing:
        """What the values that cross are like in one of the two modes."""
        return self.train_crossing if training else self.eval_crossing


def split_network(backbone: Backbone, network: nn.Module, anatomy: Anatomy) -> NetworkSplit:
    """Find out how to cut networks of a backbone where its ``split_at`` says.

    Where it says nothing, that is before the last stage, or else as late before it as is possible;
    an isotropic network, whose last stage is one block of many, is cut at two thirds.

    Args:
        backbone: says where.
        network: one that the backbone built. It is run and changed: use it for nothing else.
        anatomy: of the network.

    Raises:
        UserError: there is no such stage, or the network cannot be cut there.
    """
    wanted = cut_stage(backbone.split_at, anatomy)
    earlier = anatomy.stages[: anatomy.stages.index(wanted)] if backbone.split_at is None else ()
    looked_for = [wanted, *anatomy.stages, *anatomy.watched.values()]
    opened = ancestors([*(stage.name for stage in looked_for), anatomy.classifier])
    x = probe_batch(network, backbone.input_size)
    graphs = {}
    try:
        for training in (True, False):
            with mode(network, training):
                graphs[training] = trace(network, opened, x)
    except Exception as error:  # whatever foreign code raises when it is given symbols
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _cannot(backbone, wanted, reason) from error
    problems = []
    for stage in (wanted, *reversed(earlier)):
        try:
            return _split_after(stage, network, graphs, anatomy, x)
        except _NoCutError as problem:
            problems.append(str(problem))
    raise _cannot(backbone, wanted, problems[0])


class _NoCutError(Exception):
    """A network cannot be cut after some stage."""


def _split_after(
    stage: Stage, network: nn.Module, graphs: dict[bool, fx.Graph], anatomy: Anatomy, x: Tensor
) -> NetworkSplit:
    halves = {}
    for training, graph in graphs.items():
        try:
            halves[training] = cut(graph, stage.name, anatomy)
        except LookupError as error:
            raise _NoCutError(f"{error} is skipped in one of training and evaluation") from error
    plans = plan_split(network, train=halves[True], evaluate=halves[False])
    if plans.shared:
        raise _NoCutError(f"{', '.join(plans.shared)} would be in both parts")
    if anatomy.classifier in plans.trunk.pieces:
        raise _NoCutError("the branches would have no classifier of their own")
    crossings = [
        _try_out(network, plans, stage, anatomy, training, x) for training in (True, False)
    ]
    return NetworkSplit(plans.trunk, plans.branch, stage, *crossings)


def cut_stage(split_at: str | int | float | None, anatomy: Anatomy) -> Stage:
    """The last stage of the trunk: by name, by number from 1, or by its share of the stages.

    Raises:
        UserError: there is no such stage.
    """
    count = len(anatomy.stages)
    if split_at is None:
        number = round(SHARED * count) if anatomy.isotropic else max(count - 1, 1)
    elif isinstance(split_at, str):
        if split_at not in anatomy.called or not split_at:
            names = [stage.name for stage in anatomy.stages]
            choices = names if len(names) < 20 else list(anatomy.called)
            raise UserError(
                f"backbone.split_at: no stage '{split_at}'. {nearest(split_at, choices)}"
            )
        return anatomy.stage(split_at)
    elif 0 < split_at < 1:
        number = max(min(round(split_at * count), count - 1), 1)
    else:
        number = int(split_at) if float(split_at).is_integer() else 0
    if not 1 <= number <= count:
        raise UserError(
            f"backbone.split_at: {split_at!r} is no stage: they are 1 ({anatomy.stages[0].name}) "
            f"to {count} ({anatomy.stages[-1].name}), or a fraction of them between 0 and 1."
        )
    return anatomy.stages[number - 1]


@torch.no_grad()
def _try_out(
    network: nn.Module,
    plans: SplitPlans,
    stage: Stage,
    anatomy: Anatomy,
    training: bool,
    x: Tensor,
) -> Crossing:
    """Run trunk and branch, compare with the whole network, and watch the values that cross."""
    trunk, branch = Subnetwork(network, plans.trunk), Subnetwork(network, plans.branch)
    classes = anatomy.num_classes
    with mode(network, training), torch.random.fork_rng(devices=[]):
        trunk.train(training)
        branch.train(training)
        torch.manual_seed(0)
        expected = logits_of(network(x), classes)
        torch.manual_seed(0)
        values = trunk(x)
        leaves = pytree.tree_leaves(values)
        versions = [_version(value) for value in leaves]
        output, _, features, watched = branch(*values)
        overwritten = [_version(v) != was for v, was in zip(leaves, versions, strict=True)]
        if not torch.equal(expected, logits_of(output, classes)):
            raise _NoCutError("the two parts together compute something else")
        seen = zip(anatomy.watched.values(), watched, strict=True)
        for end, out in ((stage, values[0]), (anatomy.stages[-1], features), *seen):
            if [tuple(t.shape[1:]) for t in tensors(out)[end.index :]][:1] != [end.shape]:
                raise _NoCutError(f"the last step of '{end.name}' does not give its output")
        smaller = trunk(x[:-1])
    return Crossing(batch_axes(smaller, values), tuple(overwritten))


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0


def _cannot(backbone: Backbone, stage: Stage, reason: str) -> UserError:
    return UserError(
        f"The backbone {backbone.name} cannot be cut after '{stage.name}' ({reason}). Choose "
        "another backbone.split_at, or method.layout=independent, which works for every network."
    )
