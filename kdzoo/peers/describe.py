"""What a person wants to know of a backbone before training it: its stages and what they cost."""

from dataclasses import dataclass
from typing import Any

from kdzoo.backbones.backbone import Backbone
from kdzoo.errors import UserError
from kdzoo.peers.anatomy import find_anatomy
from kdzoo.peers.calls import Shape
from kdzoo.peers.cost import Cost, cost_until
from kdzoo.peers.split import split_network


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
    anatomy = find_anatomy(backbone, network)
    ends = [stage.name for stage in anatomy.stages]
    costs = cost_until(network, backbone.input_size, ends)
    total = costs[""]
    stages = tuple(
        StageDescription(
            number, stage.name, stage.shape, costs[stage.name], total - costs[stage.name]
        )
        for number, stage in enumerate(anatomy.stages, start=1)
    )
    weight: Any = network.get_submodule(anatomy.classifier).weight
    try:
        cut, problem = split_network(backbone, network, anatomy).stage.name, None
    except UserError as error:
        cut, problem = None, str(error)
    return BackboneDescription(
        name=backbone.name,
        input_size=backbone.input_size,
        num_classes=backbone.num_classes,
        classifier=anatomy.classifier,
        embedding=weight.shape[1],
        total=total,
        stages=stages,
        cut=cut,
        problem=problem,
    )
