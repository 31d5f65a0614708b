"""Weights from a file, and a network that takes them: strict, but for the classifier of other K."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdzoo.errors import UserError, cause
from kdzoo.home import expand_user

WRAPPED = ("state_dict", "model", "model_state", "model_state_dict", "network", "net")
"""The keys under which training scripts put a network's state dict into a checkpoint."""

PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""

LISTED = 5


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file, or in one that ``torch.save`` wrote.

    Of a checkpoint, the network's part. Names lose the prefixes that wrappers give them. Nothing
    but tensors and plain containers is unpickled.

    Raises:
        UserError: there is no such file, it is damaged, or it holds no state dict.
    """
    path = expand_user(path)
    if not path.is_file():
        kind = "is a folder or no regular file" if path.exists() else "does not exist"
        raise UserError(f"{path} {kind}; give a file of weights.")
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    return without_prefixes(_state_dict(content, path))


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without a wrapper's prefix, where every name begins with it."""
    state = dict(state)
    while state:
        common = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None)
        if common is None:
            break
        state = {name.removeprefix(common): value for name, value in state.items()}
    return state


@dataclass(frozen=True)
class Loaded:
    """What became of a network's tensors.

    Attributes:
        kept: the names of those that were loaded.
        new: of those that stay as they were drawn, because the classes are others.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        loaded = f"{len(self.kept)} tensors loaded"
        return f"{loaded}, {len(self.new)} drawn anew ({_listed(self.new)})" if self.new else loaded


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], num_classes: int | None, source: str
) -> Loaded:
    """Load a state dict by names and shapes, as :func:`match_weights` says.

    Raises:
        UserError: as :func:`match_weights`.
    """
    found = match_weights(network, state, num_classes, source)
    network.load_state_dict({name: state[name] for name in found.kept}, strict=False)
    return found


def match_weights(
    network: nn.Module, state: Mapping[str, Tensor], num_classes: int | None, source: str
) -> Loaded:
    """Which of a network's tensors a state dict holds; what does not fit is refused.

    Args:
        network: it is left as it is.
        state: its tensors may be of any floating-point type.
        num_classes: K, where the classifier may be of other classes: then tensors with K entries
            in their first dimension that are missing, or have another number there, are the
            network's own. None to refuse them too.
        source: what the user calls these weights.

    Raises:
        UserError: a tensor is missing, unknown, of another shape, or holds values that are no
            finite floating-point numbers where the network's own are.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state and not _counts_batches(name)]
    unknown = [name for name in state if name not in own]
    misshapen = [n for n, value in state.items() if n in own and value.shape != own[n].shape]
    new = []
    if num_classes is not None:
        new += [name for name in missing if own[name].shape[:1] == (num_classes,)]
        new += [name for name in misshapen if _differs_in_rows(own[name], state[name], num_classes)]
    wrong_shapes = [
        f"{name} {list(state[name].shape)} and not {list(own[name].shape)}"
        for name in misshapen
        if name not in new
    ]
    problems = [
        _problem("are missing", [name for name in missing if name not in new]),
        _problem("are not the network's", unknown),
        _problem("have another shape", wrong_shapes),
        _problem("are no floating-point numbers", _quantized(own, state)),
        _problem("are not finite", [n for n in own if n in state and not _fits(own[n], state[n])]),
    ]
    kept = tuple(name for name in own if name in state and name not in new)
    if any(problems) or not kept:
        found = "; ".join(filter(None, problems)) or "none fits"
        raise UserError(
            f"{source} does not hold the weights of this network: it has {len(state)} tensors and "
            f"the network {len(own)}; {found}."
        )
    return Loaded(kept, tuple(name for name in own if name in new))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {cause(error)}. It may be damaged.") from None


def _torch(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
                if damaged := archive.testzip():
                    raise UserError(f"{path} is damaged: {damaged} in it does not add up.")
        with warnings.catch_warnings(action="ignore"):  # what is wrong is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is no file of tensors alone, and kdzoo runs no code that a file names. Load "
            "it where it comes from and write torch.save(network.state_dict(), FILE)."
        ) from None
    except Exception as error:  # unpickling what is no such file may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read: {reason}. It may be damaged.") from None


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for key in WRAPPED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, and no state dict.")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(
            f"{path} holds no state dict. Its keys: {_listed([str(key) for key in content])}."
        )
    return state


def _differs_in_rows(own: Tensor, given: Tensor, num_classes: int) -> bool:
    return own.shape[:1] == (num_classes,) and own.shape[1:] == given.shape[1:] and given.ndim > 0


def _counts_batches(name: str) -> bool:
    return name.rpartition(".")[2] == "num_batches_tracked"  # older checkpoints have none


def _quantized(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Weights that are whole numbers, which mean nothing without a scale that is elsewhere."""
    real = [name for name in own if name in state and own[name].is_floating_point()]
    return [name for name in real if not state[name].is_floating_point()]


def _fits(own: Tensor, given: Tensor) -> bool:
    """Whether values are finite in the network's type; a mask's need not be, if its own are not."""
    if bool(given.to(own.dtype).isfinite().all()):
        return True
    return not bool(own.isfinite().all())


def _problem(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({_listed(names)})" if names else ""


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if names[LISTED:] else "")
