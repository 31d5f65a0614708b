"""What a person wants to know of a backbone before training it: its stages and what they cost."""

import resource
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdzoo.backbones.backbone import Backbone
from kdzoo.errors import UserError
from kdzoo.peers.anatomy import Anatomy, Shape, anatomy
from kdzoo.peers.calls import mode, probe_batch
from kdzoo.peers.split import split


@dataclass(frozen=True)
class Cost:
    """Of a network or a part of it.

    Attributes:
        parameters: how many.
        multiply_adds: of convolutions, linear layers and attention, for one sample. Papers often
            call these FLOPs; a multiplication and an addition are one.
    """

    parameters: int
    multiply_adds: int

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters - other.parameters, self.multiply_adds - other.multiply_adds)


@dataclass(frozen=True)
class StageDescription:
    """One place where a network may be cut.

    Attributes:
        number: from 1.
        name: the module whose output ends the stage.
        shape: of that output for one sample, as the network has it.
        before: the cost up to here, this stage included: what branched peers would share.
        after: the cost of the rest: what each peer would have of its own.
    """

    number: int
    name: str
    shape: Shape
    before: Cost
    after: Cost

    def branched(self, peers: int) -> Cost:
        """The cost of one trunk up to here and ``peers`` branches."""
        return Cost(
            self.before.parameters + peers * self.after.parameters,
            self.before.multiply_adds + peers * self.after.multiply_adds,
        )


@dataclass(frozen=True)
class BackboneDescription:
    """A network for one task.

    Attributes:
        name: of the backbone.
        input_size: (C, H, W) of one sample.
        num_classes: K.
        classifier: the path of the classifier module.
        embedding: D, the width of what the classifier is given.
        total: the cost of one whole network.
        stages: in the order of the data.
        cut: the last stage that branched peers share; None if the network cannot be branched.
        problem: why it cannot.
    """

    name: str
    input_size: tuple[int, int, int]
    num_classes: int
    classifier: str
    embedding: int
    total: Cost
    stages: tuple[StageDescription, ...]
    cut: str | None
    problem: str | None


def describe(backbone: Backbone) -> BackboneDescription:
    """The stages of a backbone, what each costs, and where branched peers would be cut.

    Raises:
        UserError: the network does not run, or its classifier or stages cannot be found.
    """
    network = backbone.build(seed=0)
    parts = anatomy(backbone, network)
    total, costs = _costs(backbone, network, parts)
    stages = tuple(
        StageDescription(
            number, stage.name, stage.shape, costs[stage.name], total - costs[stage.name]
        )
        for number, stage in enumerate(parts.stages, start=1)
    )
    weight: Any = network.get_submodule(parts.classifier).weight
    try:
        cut, problem = split(backbone, network, parts).stage.name, None
    except UserError as error:
        cut, problem = None, str(error)
    return BackboneDescription(
        name=backbone.name,
        input_size=backbone.input_size,
        num_classes=backbone.num_classes,
        classifier=parts.classifier,
        embedding=weight.shape[1],
        total=total,
        stages=stages,
        cut=cut,
        problem=problem,
    )


@torch.no_grad()
def _costs(backbone: Backbone, network: nn.Module, parts: Anatomy) -> tuple[Cost, dict[str, Cost]]:
    """The cost of the whole, and of everything up to the end of each stage."""
    entered: set[nn.Parameter] = set()
    until: dict[str, Cost] = {}
    counter = FlopCounterMode(display=False)

    def so_far() -> Cost:
        return Cost(sum(p.numel() for p in entered), counter.get_total_flops() // 2)

    def enter(module: nn.Module, args: Any) -> None:
        entered.update(module.parameters(recurse=False))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        until[names[module]] = so_far()

    names = {network.get_submodule(stage.name): stage.name for stage in parts.stages}
    hooks = [module.register_forward_pre_hook(enter) for module in network.modules()]
    hooks += [module.register_forward_hook(leave) for module in names]
    try:
        # the plain attention is made of products that the counter knows
        with mode(network, training=False), sdpa_kernel(SDPBackend.MATH), counter:
            network(probe_batch(network, backbone.input_size, samples=1))
    finally:
        for hook in hooks:
            hook.remove()
    total = Cost(sum(p.numel() for p in network.parameters()), so_far().multiply_adds)
    return total, until


def measure_cost(network: nn.Module, input_size: tuple[int, int, int]) -> dict[str, int]:
    """A network's ``params`` and its ``macs``, multiply-adds for one image (papers' "FLOPs").

    Args:
        network: on the CPU.
        input_size: (C, H, W).
    """
    counter = FlopCounterMode(display=False)
    # the plain attention is made of products that the counter knows
    with mode(network, training=False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(torch.zeros(1, *input_size))
    return {
        "params": sum(p.numel() for p in network.parameters()),
        "macs": counter.get_total_flops() // 2,
    }


def peak_memory(device: torch.device) -> int:
    """The most memory, in bytes, used so far: of the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
