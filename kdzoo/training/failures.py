"""What torch says when a training cannot go on, in words that help."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdzoo.errors import UserError

CPU_ALLOCATION = ("can't allocate memory", "not enough memory")


class OutOfMemoryError(UserError):
    """The device, or this machine, has less memory than the training needs."""

    exit_code = 1


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a person can do something about into a UserError.

    Raises:
        OutOfMemoryError: there was not enough memory.
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
                "smaller images (dataset.image_size) or a smaller backbone. The last finished "
                "epoch is kept."
            ) from None
        raise
