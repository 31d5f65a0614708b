"""One step of the training, as operations on a device that are the same at every step.

What changes from step to step, the learning rate, the progress and the step's number, is in tensors
of the device. So nothing in a step waits for the device, and a step can be captured and replayed.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from kdzoo.config import TrainingConfig
from kdzoo.methods.base import Method, StepResult
from kdzoo.optim.rates import Rates
from kdzoo.training.nonfinite import LeaveOut, TakeAll
from kdzoo.training.rollback import GoBack
from kdzoo.training.sharpness import SharpnessAware, at_the_weights
from kdzoo.training.tally import Tally


class TrainingStep:
    """Forward, backward, clipping, optimiser and metrics of one batch.

    Args:
        config: gives label smoothing, clipping and where the gradient is taken.
        method: what is trained.
        model: the same, as ``accelerator`` has prepared it.
        optimizer: likewise prepared.
        rates: of that optimiser.
        accelerator: device and precision.
        num_classes: K.
        steps_per_epoch: the most steps between two calls of :meth:`begin`.
        total_steps: of the whole training.
        sharing: entered for forward and backward, where several processes share a batch.
    """

    def __init__(
        self,
        config: TrainingConfig,
        method: Method,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        rates: Rates,
        accelerator: Accelerator,
        *,
        num_classes: int,
        steps_per_epoch: int,
        total_steps: int,
        sharing: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.config = config
        self.method = method
        self.model = model
        self.optimizer = optimizer
        self.rates = rates
        self.accelerator = accelerator
        self.num_classes = num_classes
        self.total_steps = total_steps
        self.sharing = sharing or nullcontext()
        device = accelerator.device
        self.tally = Tally(device)
        self.nonfinite = TakeAll()
        if config.on_nonfinite != "stop":
            kind = LeaveOut if config.on_nonfinite == "skip" else GoBack
            self.nonfinite = kind(method, optimizer, self.tally)
        rho = config.sam_rho
        self._gradient = at_the_weights if rho is None else SharpnessAware(method, rho)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        """How many steps of the epoch are done, [1]."""
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._progress = torch.zeros(steps_per_epoch, device=device)

    def begin(self, step: int, position: int = 0) -> None:
        """An epoch begins, or is gone on with; its metrics are new.

        Args:
            step: of the whole training, the number of the next step.
            position: of that epoch, the number of the next step.
        """
        self.tally.reset()
        self.position.fill_(position)
        self._step.fill_(step)
        first = step - position
        steps = torch.arange(first, first + len(self._progress), dtype=torch.float64)
        self._progress.copy_(steps / self.total_steps)
        self.rates.begin(step, position)
        if position == 0:
            self.nonfinite.begin()

    def __call__(self, x: Tensor, y: Tensor, index: Tensor) -> None:
        """Train on a batch, as :meth:`Method.forward` has it."""
        self.nonfinite.keep(self._step)
        self.method.before_step()
        inputs = self.inputs(x, y, index)
        result = self._gradient(lambda: self._backward(*inputs))
        self.nonfinite.judge(result.terms, self._step)
        if self.config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.method.parameters(), self.config.clip_norm)
        self.rates.apply(self.position)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step()
        self.tally.update(result, y, self._step)
        self.nonfinite.settle()
        self.position.add_(1)
        self._step.add_(1)

    @property
    def taken(self) -> Tensor | None:
        """Whether the last step counts, a boolean scalar; None where none is ever left out."""
        return self.nonfinite.taken

    def meta_step(self, x: Tensor, y: Tensor) -> Sequence[Tensor]:
        """What the method learns between steps from the batch of one, of all processes."""
        lr = max(float(group["lr"]) for group in self.optimizer.param_groups)
        return self.method.meta_step(x, self._targets(y), lr)

    def _backward(self, *inputs: Tensor) -> StepResult:
        """One pass: the gradients of a batch are added to those that are there."""
        with self.sharing:  # backward as well, in which blocks may be computed again
            result: StepResult = self.model(*inputs)
            self.accelerator.backward(torch.stack(list(result.terms.values())).sum())
        return result

    def inputs(self, x: Tensor, y: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the method is given for a batch."""
        return x, self._targets(y), self._progress.index_select(0, self.position)[0], index

    def _targets(self, y: Tensor) -> Tensor:
        """The labels with label smoothing, as class probabilities where there is some."""
        smoothing = self.config.label_smoothing
        if smoothing == 0:
            return y
        hard = F.one_hot(y, self.num_classes).float() if y.dim() == 1 else y
        return hard * (1 - smoothing) + smoothing / self.num_classes
