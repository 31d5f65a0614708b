"""A teacher whose embeddings and feature maps are seen, besides its logits."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.logits import logits_of
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

    @property
    def width(self) -> int:
        """D of the embeddings that the teacher's classifier is given."""
        return self._hooked.classifier_weight().shape[1]

    def classify(self, embeddings: Tensor) -> Tensor:
        """What the teacher's classifier, held constant, says of embeddings that are not its own.

        Args:
            embeddings: [B, D].

        Returns:
            logits [B, K] in the order of the student's classes.
        """
        network = self._hooked
        said = F.linear(embeddings, network.classifier_weight(), network.classifier_bias())
        return logits_of(said, self.num_classes)[:, self.order]

    @property
    def _hooked(self) -> HookedNetwork:
        assert isinstance(self.network, HookedNetwork)
        return self.network
