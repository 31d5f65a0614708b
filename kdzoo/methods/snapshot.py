"""The parameters of a module as they were, to go back to."""

import torch
from torch import Tensor, nn

from kdzoo.errors import UserError


class Snapshot(nn.Module):
    """Memory for the parameters of a module; it is in no checkpoint, and in no gradient.

    Args:
        module: whose parameters are to be kept; the first are taken at once.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._is_of_this_step = False
        for place, parameter in enumerate(module.parameters()):
            self.register_buffer(str(place), parameter.detach().clone(), persistent=False)

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Keep the parameters that the module has now, before a step."""
        self._is_of_this_step = True
        torch._foreach_copy_(list(self.buffers()), list(module.parameters()))

    @torch.no_grad()
    def restore(self, module: nn.Module, where: Tensor) -> None:
        """Give the module the kept parameters back; ``where``, a scalar, says whether at all.

        Raises:
            UserError: none were kept since the last step; those before it would come back.
        """
        if not self._is_of_this_step:
            raise UserError(
                "This method may take a step back. Call method.before_step() before the forward "
                "pass of each step, and method.after_step() after the optimiser's."
            )
        self._is_of_this_step = False
        for parameter, before in zip(module.parameters(), self.buffers(), strict=True):
            parameter.copy_(torch.where(where, before, parameter))
