"""Looks at what a run would meet on this machine, and says how to mend what is wrong."""

import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
import torch
from packaging.requirements import Requirement

from kdzoo import __version__, registry
from kdzoo.data.cores import available_cores
from kdzoo.home import cache_folder, expand_user
from kdzoo.training.device import choose_device
from kdzoo.training.environment import device_name
from kdzoo.training.precision import cpu_multiplies_bf16

LITTLE_DISK = 2**30
"""Bytes below which a folder is said to be short: some checkpoints of a common network."""
LITTLE_MEMORY = 2 * 2**30
"""Bytes that a run of a common network takes on a CPU."""

EXTRAS = {
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "ray": ("ray",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
}
"""The optional parts of kdzoo, and the modules that each one needs."""


@dataclass(frozen=True)
class Finding:
    """What is the matter with one thing.

    Attributes:
        subject: the thing.
        state: ``problem`` is what stops or slows runs; a ``note`` is worth knowing.
        text: how it is.
        fix: what to do about it; empty where there is nothing to do.
    """

    subject: str
    state: Literal["fine", "note", "problem"]
    text: str
    fix: str = ""


def examine(out: str = "runs") -> list[Finding]:
    """Every finding, in the order in which a run meets things.

    Args:
        out: the folder that runs would go to.
    """
    checks: Sequence[Callable[[], Iterator[Finding]]] = (
        _versions,
        _device,
        _processor,
        _compiler,
        _memory,
        lambda: _folder("runs", expand_user(out)),
        lambda: _folder("cache", cache_folder()),
        _plugins,
        _extras,
    )
    return [finding for check in checks for finding in check()]


def _versions() -> Iterator[Finding]:
    yield Finding("Python", "fine", platform.python_version())
    for name in ("kdzoo", "torch", "torchvision", "timm", "accelerate"):
        known = __version__ if name == "kdzoo" else _version(name)
        if known is None:
            yield Finding(name, "problem", "not installed", f"pip install {name}")
            continue
        unmet = _unmet(name)
        if unmet:
            wants = " and ".join(f"{one} (found {_version(one.name)})" for one in unmet)
            names = " ".join(f'"{one}"' for one in unmet)
            yield Finding(name, "problem", f"{known} wants {wants}", f"pip install {names}")
        else:
            yield Finding(name, "fine", known)
    try:
        import_module("torchvision.ops")
    except Exception as error:  # its operators are built for one torch, and say so in many ways
        fix = "Install the torchvision that belongs to your torch: pip install -U torch torchvision"
        yield Finding("torchvision", "problem", f"cannot be imported: {error}", fix)


def _unmet(package: str) -> list[Requirement]:
    """What the package requires of kdzoo's other packages and does not find."""
    try:
        wanted = [Requirement(one) for one in requires(package) or ()]
    except PackageNotFoundError:  # kdzoo may be used from its source
        return []
    return [
        one
        for one in wanted
        if (one.marker is None or one.marker.evaluate({"extra": ""}))
        and one.name in {"torch", "torchvision", "timm", "accelerate"}
        and not one.specifier.contains(_version(one.name) or "0", prereleases=True)
    ]


def _device() -> Iterator[Finding]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    reasons = " ".join(str(one.message).splitlines()[0] for one in said)
    if available:
        for index in range(torch.cuda.device_count()):
            one = torch.cuda.get_device_properties(index)
            text = f"{one.name}, {one.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
            refusal = _refusal(index)
            if refusal is not None:
                fix = "Install a torch that is built for this GPU; pytorch.org names the command."
                yield Finding(f"cuda:{index}", "problem", f"{text}: {refusal}", fix)
                continue
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            takes = "bf16" if bf16 else "no bf16: precision=auto takes fp32, and fp16 is to be had"
            yield Finding(f"cuda:{index}", "fine", f"{text}, {takes}")
        return
    if shutil.which("nvidia-smi") or reasons:
        text = f"there seems to be one that torch cannot use: {reasons or 'nvidia-smi is here'}"
        fix = (
            "Install the torch that fits your driver; pytorch.org names the command."
            if torch.version.cuda
            else "This torch is built without CUDA; pytorch.org names the command for one with it."
        )
        yield Finding("GPU", "problem", text, fix)
        return
    yield Finding("device", "fine", f"device=auto takes {choose_device('auto').type}")


def _refusal(index: int) -> str | None:
    """Why a GPU that is there does not compute, such as a torch that has no kernels for it."""
    try:
        torch.ones(1, device=f"cuda:{index}").add_(1).item()
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def _processor() -> Iterator[Finding]:
    name = device_name(torch.device("cpu"))
    takes = "bf16" if cpu_multiplies_bf16() else "fp32"
    yield Finding("CPU", "fine", f"{name}; on it precision=auto takes {takes}")
    cores, threads = available_cores(), torch.get_num_threads()
    if threads > cores:
        yield Finding(
            "threads",
            "problem",
            f"torch takes {threads} on {cores} cores, and they hold each other up",
            f"training.threads={cores}, or set OMP_NUM_THREADS={cores}",
        )
    else:
        yield Finding("threads", "fine", f"torch takes {threads} on {cores} cores")


def _compiler() -> Iterator[Finding]:
    found = next(
        filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None
    )
    if found:
        yield Finding("C++ compiler", "fine", f"{found}, for training.compile on a CPU")
    else:
        fix = "Install g++ to compile training steps on a CPU; all else works without."
        yield Finding("C++ compiler", "note", "none", fix)


def _memory() -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    text = f"{free / 2**30:.1f} GiB free of {psutil.virtual_memory().total / 2**30:.1f}"
    if free < LITTLE_MEMORY:
        fix = "Close other programs, lower batch_size or set training.checkpointing=true."
        yield Finding("memory", "problem", text, fix)
    else:
        yield Finding("memory", "fine", text)


def _folder(subject: str, folder: Path) -> Iterator[Finding]:
    place = folder.absolute()
    there = next(one for one in (place, *place.parents) if one.exists())
    choose = "out=DIR" if subject == "runs" else "XDG_CACHE_HOME=DIR in the environment"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        fix = f"Choose another one: {choose}"
        yield Finding(subject, "problem", f"{there} cannot be written: {error.strerror}", fix)
        return
    free = shutil.disk_usage(there).free
    text = f"{place}, {free / 2**30:.1f} GiB free"
    if free < LITTLE_DISK:
        yield Finding(subject, "problem", text, f"Make room, or choose another one: {choose}")
    else:
        yield Finding(subject, "fine", text)


def _plugins() -> Iterator[Finding]:
    for one in registry.ALL.values():
        broken = one.broken()
        for name in one.names():
            if name in broken:
                fix = f"Mend or uninstall {one.origin(name)}."
                yield Finding(f"{one.kind} {name}", "problem", broken[name], fix)
            elif one.origin(name) != "kdzoo":
                yield Finding(f"{one.kind} {name}", "fine", f"from {one.origin(name)}")


def _extras() -> Iterator[Finding]:
    missing = [
        name for name, modules in EXTRAS.items() if not all(find_spec(one) for one in modules)
    ]
    if missing:
        fix = f'pip install "kdzoo[{",".join(missing)}]" brings them'
        yield Finding("optional parts", "note", f"not installed: {', '.join(missing)}", fix)
    else:
        yield Finding("optional parts", "fine", "all installed")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
