"""Which device a run takes, and which of several processes this is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError


def join_processes(config: RunConfig) -> PartialState:
    """Which device this process has, and which of how many it is.

    Raises:
        ConfigError: the device is not there.
    """
    device = choose_device(config.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # A process may make several runs; Accelerate's state is one for the process.
    AcceleratorState._reset_state(reset_partial_state=True)
    return PartialState(cpu=device.type == "cpu")


def build_accelerator(processes: PartialState, precision: str) -> Accelerator:
    """Accelerate, set up for these processes.

    Args:
        processes: of :func:`join_processes`.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    return Accelerator(
        cpu=processes.device.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        # Each process keeps statistics of its own share, until they are averaged.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def precision_of(accelerator: Accelerator) -> str:
    """``fp32``, ``bf16`` or ``fp16``; Accelerate calls full precision "no" mixed one."""
    return "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with so many threads for a while; None leaves it as it is."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
    except RuntimeError as error:
        raise ConfigError(f"torch cannot use so many: {error}", ("training", "threads")) from None
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes an accelerator where there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    device = torch.device(name)
    missing = (
        device.type == "cuda"
        and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count())
    ) or (device.type == "mps" and not torch.backends.mps.is_available())
    if missing:
        raise ConfigError(
            f"There is no device {name} here ({torch.cuda.device_count()} CUDA devices are "
            "visible). Use device=auto or device=cpu.",
            ("device",),
        )
    return device
