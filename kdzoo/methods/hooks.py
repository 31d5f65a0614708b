"""What a training loop asks of a method besides its forward pass, and says to it."""

from collections.abc import Sequence
from typing import Required, TypedDict

from torch import Tensor, nn


class ParameterGroup(TypedDict, total=False):
    """Parameters that are trained alike, as an optimiser of torch takes them."""

    params: Required[list[nn.Parameter]]
    """Each trained parameter is in one group."""
    lr_scale: float
    """What the learning rate of the run is multiplied by; 1 where it is left out."""
    weight_decay: float
    """The decay of these; that of the run where it is left out. What the run or the network spares
    from any is spared here, too."""


class TrainingHooks(nn.Module):
    """Called by the training loop, be it kdzoo's or another; none of them does anything here.

    What they change is a parameter or a buffer, and it is changed in place: so it is in every
    checkpoint, and a step that is captured as a CUDA graph still finds it.
    """

    def parameter_groups(self) -> list[ParameterGroup]:
        """The trained parameters, in groups that may have rates and decays of their own."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def begin(self, samples: int, epochs: float) -> None:
        """Called once before the training: methods that remember samples make room for them.

        Args:
            samples: N, of the training set.
            epochs: how often the training goes through it.
        """

    def before_step(self) -> None:
        """Called before the forward pass of each step in training."""

    def after_step(self) -> None:
        """Called after each step of the optimiser; averaged weights are updated here."""

    def after_epoch(self) -> None:
        """Called after the last step of each epoch, also where the training ends within one."""

    def meta_step(self, x: Tensor, y: Tensor, lr: float) -> Sequence[Tensor]:
        """Learn from the batch of a step, after :meth:`after_step`, what its loss cannot teach.

        Called after some of the steps, as :meth:`kdzoo.methods.needs.Needs.meta_every` says, on
        every process, with the batch of all of them.

        Args:
            x: [B, C, H, W], or [V, B, C, H, W] where the method asks for V > 1 views.
            y: [B] class indices, or [B, K] class probabilities.
            lr: the learning rate of the step.

        Returns:
            The tensors that it has changed, which the first process then gives to all others.
        """
        return ()
