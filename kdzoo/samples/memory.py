"""What a method remembers of every sample of the training set."""

import torch
from torch import Tensor, nn

from kdzoo.errors import UserError


class Memory(nn.Module):
    """A row of numbers for each sample, on the device and in every checkpoint; zeros at first.

    Args:
        shape: of a row.
    """

    rows: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, *shape))

    def begin(self, samples: int) -> None:
        """Make room for so many samples; what was remembered is gone."""
        self.rows = self.rows.new_zeros(samples, *self.rows.shape[1:])

    def read(self, index: Tensor) -> Tensor:
        """The rows [B, ...] of the samples at ``index`` [B].

        Raises:
            UserError: there is no room yet.
        """
        if not len(self.rows):
            raise UserError(
                "This method remembers each sample of the training set. Call "
                "method.begin(samples=N, epochs=E) before the first step."
            )
        return self.rows.index_select(0, index)

    def write(self, index: Tensor, rows: Tensor) -> None:
        """Replace the rows of the samples at ``index`` [B] by ``rows`` [B, ...]."""
        self.rows.index_copy_(0, index, rows.detach().to(self.rows.dtype))
