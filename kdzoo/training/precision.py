"""In which number format a run computes: full precision, or a shorter one where that is sound."""

from typing import NamedTuple

import torch

from kdzoo.errors import ConfigError
from kdzoo.methods.base import Method
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.padding_only import padding_only_taps


class Precision(NamedTuple):
    """``fp32``, ``bf16`` or ``fp16``, and what a person should know about the choice."""

    name: str
    note: str | None = None


def choose_precision(wish: str, device: torch.device, method: Method) -> Precision:
    """The number format for training a method on a device.

    ``auto`` takes bf16 where the hardware multiplies in it. On a CPU it must be sound as well:
    where a tap of a kernel meets nothing but padding, oneDNN (torch 2.15) never writes that tap's
    bf16 weight gradient, which is then whatever lay in memory.

    Args:
        wish: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: where the run computes.
        method: on the CPU; it is run once where a CPU is to compute in bf16.

    Raises:
        ConfigError: the device does not compute in that format.
    """
    check_precision(wish, device)
    if device.type != "cpu":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(wish if wish != "auto" else "bf16" if fast else "fp32")
    if wish == "fp32" or (wish == "auto" and not cpu_multiplies_bf16()):
        return Precision("fp32")
    unsound = padding_only_taps(method, _batch(method), method.outputs)
    if unsound is None:
        return Precision("bf16", "precision=auto took bf16." if wish == "auto" else None)
    if wish == "auto":
        return Precision(
            "fp32",
            "precision=auto took fp32, though this CPU multiplies in bf16: part of "
            f"{unsound} meets only padding, and its bf16 gradient can be wrong. Larger images "
            "(dataset.image_size) avoid that.",
        )
    return Precision(
        "bf16",
        f"precision=bf16 can be wrong here: part of {unsound} meets only padding, and on "
        "a CPU the gradient of that part can be any number. Use precision=fp32, or larger images "
        "(dataset.image_size).",
    )


def check_precision(wish: str, device: torch.device) -> None:
    """Raises ConfigError for a format in which the device does not compute."""
    if wish == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"fp16 needs a CUDA device and this run is on {device.type}. Use bf16 or fp32.",
            ("precision",),
        )


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for it: AVX512-BF16 or AMX."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _batch(method: Method) -> torch.Tensor:
    x = probe_batch(method, method.peers.backbones[0].input_size, samples=1)
    return x.expand(method.views, *x.shape) if method.views > 1 else x
