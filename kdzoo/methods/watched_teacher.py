"""A teacher whose embeddings and feature maps are seen, besides its logits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods.teachers import Known, Teacher
from kdzoo.peers.hooked import HookedNetwork, HookedOutputs
from kdzoo.peers.watched import StageKey, anatomy_with


class WatchedTeacher(Teacher):
    """A teacher that gives its embedding and the maps of some of its stages, too.

    Args:
        known: the network.
        student: the backbone that it teaches.
        stages: whose maps are asked for.

    Raises:
        UserError: as for a teacher, or it has no such stage.
    """

    def __init__(self, known: Known, student: Backbone, stages: Sequence[StageKey]) -> None:
        super().__init__(known, student)
        size = (student.input_size[0], *self.size)
        network = self.network
        own = Backbone(known.name, lambda: network, known.num_classes, size)
        anatomy = anatomy_with(own, network, stages)
        self.network = HookedNetwork(network, anatomy.classifier, (), anatomy.watched).eval()

    @torch.no_grad()
    def see(self, x: Tensor) -> HookedOutputs:
        """What the teacher says, the logits in the order of the student's classes.

        Args:
            x: [B, C, H, W], as the student sees it.
        """
        said: HookedOutputs = self.network(self.as_own(x))
        return said._replace(logits=said.logits[:, self.order])
