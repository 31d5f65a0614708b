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
            UserError: there is no room yet, or, on the CPU, a place is beyond it. (Elsewhere a look
                at the places would wait for the device.)
        """
        if not len(self.rows):
            raise UserError(
                "This method remembers each sample of the training set. Call "
                "method.begin(samples=N, epochs=E) before the first step."
            )
        try:
            return self.rows.index_select(0, index)
        except IndexError:
            raise _no_places(index, len(self.rows)) from None

    def write(self, index: Tensor, rows: Tensor) -> None:
        """Replace the rows of the samples at ``index`` [B] by ``rows`` [B, ...].

        Raises:
            UserError: on the CPU, a place is beyond the training set.
        """
        try:
            self.rows.index_copy_(0, index, rows.detach().to(self.rows.dtype))
        except IndexError:
            raise _no_places(index, len(self.rows)) from None


def _no_places(index: Tensor, samples: int) -> UserError:
    """Of places that are none in a training set of so many samples."""
    low, high = (int(end) for end in index.aminmax())
    return UserError(
        f"index has places from {low} to {high}, and the training set has 0 to {samples - 1}, "
        f"as method.begin(samples={samples}, ...) was told."
    )
