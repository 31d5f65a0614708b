"""What torch says when a training cannot go on, in words that help."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdzoo.errors import ConfigError, UserError

CPU_ALLOCATION = ("can't allocate memory", "not enough memory")
ONE_VALUE = "Expected more than 1 value per channel when training"


class OutOfMemoryError(UserError):
    """The device, or this machine, has less memory than the training needs."""

    exit_code = 1


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a person can do something about into a UserError.

    Raises:
        OutOfMemoryError: there was not enough memory.
        ConfigError: batch norm was given a single value for each channel.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:  # torch's own is a RuntimeError
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in text for words in CPU_ALLOCATION
        ):
            raise OutOfMemoryError(
                "There was not enough memory for this training. Lower batch_size or method.peers, "
                "use precision=bf16 where the device has it, smaller images (dataset.image_size) "
                "or a smaller backbone. The last finished epoch is kept."
            ) from None
        if ONE_VALUE in text:
            raise ConfigError(
                "Batch norm cannot be trained on one sample whose maps are 1x1, for it has no "
                "variance. Give each process two samples or more, larger images "
                "(dataset.image_size), or a backbone with fewer strides.",
                ("batch_size",),
            ) from None
        raise
