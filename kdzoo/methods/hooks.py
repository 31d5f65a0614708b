"""What a training loop asks of a method besides its forward pass, and says to it."""

from collections.abc import Sequence
from typing import Any, Required, TypedDict

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


def with_own_rate(method: nn.Module, part: nn.Module, lr_scale: float) -> list[ParameterGroup]:
    """The trained parameters of a method, those of a part of it in a group with a rate of its own.

    Args:
        method: all of it.
        part: such as a discriminator.
        lr_scale: what the learning rate is multiplied by for the part.
    """
    trained = [p for p in method.parameters() if p.requires_grad]
    own = set(map(id, part.parameters()))
    return [
        {"params": [p for p in trained if id(p) not in own]},
        {"params": [p for p in trained if id(p) in own], "lr_scale": lr_scale},
    ]


class TrainingHooks(nn.Module):
    """Called by the training loop, be it kdzoo's or another; none of them does anything here.

    What they change is a parameter or a buffer, and it is changed in place: so it is in every
    checkpoint, and a step that is captured as a CUDA graph still finds it.
    """

    def parameter_groups(self) -> list[ParameterGroup]:
        """The trained parameters, in groups that may have rates and decays of their own."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def optimizer_groups(self, lr: float) -> list[dict[str, Any]]:
        """:meth:`parameter_groups` as any optimiser of torch takes them, each with its rate.

        For a training loop of one's own: ``torch.optim.SGD(method.optimizer_groups(lr=0.1), ...)``.
        With ``method.parameters()`` in its place all parameters would learn at one rate.

        Args:
            lr: the learning rate of what has none of its own.
        """
        groups: list[dict[str, Any]] = []
        for group in self.parameter_groups():
            own = {key: value for key, value in group.items() if key != "lr_scale"}
            groups.append({**own, "lr": lr * group.get("lr_scale", 1.0)})
        return groups

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
        every process, with the batch of all of them; but not after one that was left out.

        Args:
            x: [B, C, H, W], or [V, B, C, H, W] where the method asks for V > 1 views.
            y: [B] class indices, or [B, K] class probabilities.
            lr: the learning rate of the step.

        Returns:
            The tensors that it has changed, which the first process then gives to all others.
        """
        return ()
