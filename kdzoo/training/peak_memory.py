"""The most memory that a training takes: of the GPU, or of the process where there is none."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_HIGH_WATER = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def reset_peak_memory(device: torch.device) -> None:
    """Let :func:`peak_memory` count from now on, where that can be: on CUDA and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or a kernel that does not allow it
        _RESET.write_text("5")


def peak_memory(device: torch.device) -> int:
    """The most memory in use at one time since :func:`reset_peak_memory`, in bytes.

    On CUDA that of all tensors on the device, as ``torch.cuda.max_memory_allocated`` has it: what
    the allocator holds in reserve, and the driver's own, come on top. Elsewhere what the process
    had resident in memory: Python, the libraries (some 300 MiB), the images and all networks of the
    process, whichever run they belong to. Where the mark cannot be reset, as on macOS, it is that
    of the process since its start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = _HIGH_WATER.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
