"""The state that a run needs to go on, in one file."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from kdzoo.errors import UserError
from kdzoo.files import replacing
from kdzoo.training.packing import pack, unpack

FORMAT = "kdzoo-checkpoint-3"
UNPACKED = ("kdzoo-checkpoint-1", "kdzoo-checkpoint-2")
"""Formats of earlier versions, with every tensor by itself. The first one knows no checkpoint
within an epoch, and a program that knows no other must not take one for that of the epoch before.
"""


class DamagedCheckpointError(UserError):
    """A file that is damaged, or no checkpoint of kdzoo's.

    Args:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{path} is damaged or no checkpoint of kdzoo's. Move it away, or start this run over "
            f"with resume=never. ({reason})"
        )


def save_checkpoint(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Replace the checkpoint; a crash leaves the old one or the new one, whole.

    Args:
        path: the file.
        state: tensors, numbers and text, within mappings and lists.
        previous: where the checkpoint that was there before is kept.

    Raises:
        UserError: it cannot be written.
    """
    content = io.BytesIO()  # torch's own writer does not say why a file cannot be written
    torch.save({"format": FORMAT, **pack(state)}, content)
    with replacing(path, keep=previous) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's state, on the CPU; nothing in the file is executed.

    Raises:
        DamagedCheckpointError: the file is damaged or not a checkpoint of kdzoo's.
    """
    if not path.is_file():
        raise DamagedCheckpointError(path, "It is no file.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch leaves the archive's checksums unread
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is another")
        with warnings.catch_warnings(action="ignore"):  # what is wrong is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
        form = content.get("format") if isinstance(content, dict) else None
        state = unpack(content) if form == FORMAT else content
    except Exception as error:  # unpickling what is not ours may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedCheckpointError(path, reason) from None
    if form not in (FORMAT, *UNPACKED) or not isinstance(state, dict):
        raise DamagedCheckpointError(path, "It says of itself that it is something else.")
    return state
