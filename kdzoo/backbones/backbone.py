"""A backbone: one architecture, from which the peers and the student are built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kdzoo.backbones.task import Task
from kdzoo.backbones.weights import load_weights, match_weights


@dataclass(frozen=True)
class Backbone:
    """How to build networks of one architecture for one task.

    Attributes:
        name: what the user called it, e.g. ``resnet20`` or ``timm/convnext_atto``.
        network: builds one network; called again for every peer and for the student.
        num_classes: K, the classifier's outputs.
        input_size: (C, H, W) of one sample.
        kwargs: the keyword arguments the user passed through to the network.
        split_at: where to cut it into trunk and branch: a stage's name, its number, a fraction of
            the stages, or None for before the last stage, as the papers do.
        classifier: the name of its classifier module; None to find it.
        weights: a state dict that networks start from; None to leave them as ``network`` returns
            them.
        origin: what the user calls the weights that networks start from, a file or a module; ""
            where each network draws its own.
        task: the data that it is to be trained on.
    """

    name: str
    network: Callable[[], nn.Module]
    num_classes: int
    input_size: tuple[int, int, int]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    split_at: str | int | float | None = None
    classifier: str | None = None
    weights: Mapping[str, Tensor] | None = None
    origin: str = ""
    task: Task = field(default_factory=Task)

    def build(self, seed: int) -> nn.Module:
        """A network as training starts from it; what is drawn in it depends on ``seed`` alone.

        Raises:
            UserError: the weights that it is to start from are not this network's.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._shaped(self.network())
        if self.weights is not None:
            load_weights(network, self.weights, self.num_classes, self.origin)
        return network

    def start_of(self, network: nn.Module) -> str:
        """What a network that :meth:`build` returned starts from, in a sentence; or ""."""
        if self.weights is not None:
            found = match_weights(network, self.weights, self.num_classes, self.origin)
            return f"{self.name} starts from {self.origin}: {found}."
        if self.origin:
            return f"{self.name} starts from {self.origin}: {len(network.state_dict())} tensors."
        return ""

    def _shaped(self, network: nn.Module) -> nn.Module:
        """A network whose lazy modules have met an image, and so have weights."""
        tensors = [*network.parameters(), *network.buffers()]
        if any(is_lazy(tensor) for tensor in tensors):
            was_training = network.training
            with torch.no_grad():
                network.eval()(torch.zeros(2, *self.input_size))
            network.train(was_training)
        return network
