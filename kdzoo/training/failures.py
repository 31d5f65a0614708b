"""What torch says when a training cannot go on, in words that help."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from kdzoo.errors import UserError

LOST_PROCESS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Socket closed",
    "Broken pipe",
)
"""What gloo says when the process at the other end is gone."""

CPU_ALLOCATION = ("can't allocate memory", "not enough memory")


class OutOfMemoryError(UserError):
    """The device, or this machine, has less memory than the training needs."""

    exit_code = 1


class LostProcessError(UserError):
    """Another process of a distributed run has ended, or does not answer."""

    exit_code = 1


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a person can do something about into a UserError.

    Raises:
        OutOfMemoryError: there was not enough memory.
        LostProcessError: another process of the run is gone.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch's own is a RuntimeError
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in text for words in CPU_ALLOCATION
        ):
            raise OutOfMemoryError(
                "There was not enough memory for this training. Set training.checkpointing=true, "
                "lower batch_size or method.peers, use precision=bf16 where the device has it, "
                "smaller images (dataset.image_size) or a smaller backbone. The last checkpoint "
                "is kept."
            ) from None
        if _is_lost_process(error):
            raise LostProcessError(
                "Another process of this run is gone, or does not answer "
                f"({_first_line(text)}). If nothing else here says why, it was killed: did memory "
                "run out? The last checkpoint is kept; the same command goes on from it."
            ) from None
        raise


def _is_lost_process(error: BaseException) -> bool:
    if not (distributed.is_available() and distributed.is_initialized()):
        return False
    return isinstance(error, distributed.DistError) or any(
        words in str(error) for words in LOST_PROCESS
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
