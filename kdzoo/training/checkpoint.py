"""The state that a run needs to go on, in one file."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from kdzoo.errors import UserError
from kdzoo.files import replacing

FORMAT = "kdzoo-checkpoint-1"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint; a crash leaves the old one or the new one, whole."""
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's state, on the CPU; nothing in the file is executed.

    Raises:
        UserError: the file is truncated or not a checkpoint of kdzoo's.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # what is wrong is said below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{_not_ours(path)} ({reason})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(_not_ours(path))
    return state


def _not_ours(path: Path) -> str:
    return (
        f"{path} is truncated or no checkpoint of kdzoo's. Move it away, or start this run over "
        "with resume=never."
    )
