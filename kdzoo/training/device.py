"""Which device a run takes, and which number format is fast there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError


def build_accelerator(config: RunConfig) -> Accelerator:
    """Accelerate, set up for the device and the precision of the config.

    Raises:
        ConfigError: the device is not there, or cannot compute in that precision.
    """
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # A process may make several runs; Accelerate's state is one for the process.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device.type == "cpu",
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


def choose_precision(name: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16``; ``auto`` takes bf16 where the hardware multiplies in it.

    Raises:
        ConfigError: fp16 on a device that does not compute in it.
    """
    if name == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"fp16 needs a CUDA device and this run is on {device.type}. Use bf16 or fp32.",
            ("precision",),
        )
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Not AVX512-BF16: on 1x1 maps its weight gradients are sometimes no number (torch 2.15).
    return "bf16" if device.type == "cpu" and torch.cpu._is_amx_tile_supported() else "fp32"
