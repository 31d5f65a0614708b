"""What ``torch.cuda.set_sync_debug_mode("error")`` is on CUDA, told by the operations on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

LOOKS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique")
"""Operations whose result, or its shape, depends on what is in a tensor: the host waits for it."""


@contextmanager
def no_waiting() -> Iterator[None]:
    """Refuse what would make the host wait for the device.

    Labels are looked at on CPUs alone, so here they are not.

    Raises:
        AssertionError: an operation looks into a tensor, or copies from the host.
    """
    not_on_devices = patch("kdzoo.samples.batch._check_probabilities", lambda y: None)
    with not_on_devices, _Operations(), _Functions():
        yield


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[-1]
        assert not name.startswith(LOOKS), f"{name} looks into a tensor"
        assert name != "lift_fresh", "a tensor is made of numbers: it copies from the host"
        if name == "index":  # a mask is turned into positions
            masks = [one for one in args[1] if one is not None and one.dtype == torch.bool]
            assert not masks, "a mask looks into a tensor"
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.where:
            assert all(isinstance(one, torch.Tensor) for one in args), "where copies from the host"
        return func(*args, **(kwargs or {}))
