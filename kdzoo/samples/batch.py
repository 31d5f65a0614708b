"""What a method is told of one batch of a training."""

from dataclasses import dataclass

from torch import Tensor

from kdzoo.errors import UserError


@dataclass(frozen=True)
class Batch:
    """B samples of one training step.

    Attributes:
        x: [B, C, H, W] samples, or [V, B, C, H, W] where the method asks for V > 1 views. Where
            several processes share a batch, those of this process alone.
        y: [B] class indices, or [B, K] class probabilities (mixup, label smoothing).
        progress: the fraction of the training that is done, a scalar tensor in [0, 1].
        index: [B] int64, the place of each sample in the training set, from 0 on; of two that were
            mixed, that of the first. None where the training loop does not say.
    """

    x: Tensor
    y: Tensor
    progress: Tensor
    index: Tensor | None = None

    def need_index(self) -> Tensor:
        """``index`` [B], for a method that cannot do without.

        Raises:
            UserError: the training loop does not say it.
        """
        if self.index is None:
            raise UserError(
                "This method has to know which samples a batch is made of. Give the place of each "
                "in the training set, an int64 tensor [B]: method(x, y, progress, index)."
            )
        return self.index
