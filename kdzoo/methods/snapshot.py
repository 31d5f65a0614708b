"""The parameters of a module as they were, to go back to."""

import torch
from torch import Tensor, nn


class Snapshot(nn.Module):
    """Memory for the parameters of a module; it is in no checkpoint, and in no gradient.

    Args:
        module: whose parameters are to be kept; the first are taken at once.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for place, parameter in enumerate(module.parameters()):
            self.register_buffer(str(place), parameter.detach().clone(), persistent=False)

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Keep the parameters that the module has now."""
        torch._foreach_copy_(list(self.buffers()), list(module.parameters()))

    @torch.no_grad()
    def restore(self, module: nn.Module, where: Tensor) -> None:
        """Give the module the kept parameters back; ``where``, a scalar, says whether at all."""
        for parameter, before in zip(module.parameters(), self.buffers(), strict=True):
            parameter.copy_(torch.where(where, before, parameter))
