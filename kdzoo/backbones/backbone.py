"""A backbone: one architecture, from which the peers and the student are built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


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
    """

    name: str
    network: Callable[[], nn.Module]
    num_classes: int
    input_size: tuple[int, int, int]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    split_at: str | int | float | None = None
    classifier: str | None = None

    def build(self, seed: int) -> nn.Module:
        """A freshly initialised network whose weights depend on ``seed`` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network()
