"""Whether what is said of a task goes together: its classes, its images and their statistics."""

import unicodedata
from collections.abc import Sequence

from kdzoo.errors import ConfigError, quoted

MOST_CHANNELS, MOST_PIXELS = 2**12, 2**26
"""Beyond these it is no image to classify, and what is made for it would not fit into memory."""


def check_task(
    num_classes: int,
    input_size: Sequence[int],
    classes: Sequence[str] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> None:
    """Make sure that what is said of a task goes together.

    Args:
        num_classes: K.
        input_size: (C, H, W) of one image.
        classes: the names of the K classes; None where nobody said them.
        mean: of each channel, for images in [0, 1]; None likewise.
        std: of each channel, likewise.

    Raises:
        ConfigError: it does not; the message says which of these, and why.
    """
    if num_classes < 2:
        raise ConfigError("Nothing can be learnt from one class; give 2 or more.", ("num_classes",))
    channels, height, width = input_size
    if min(input_size) < 1 or channels > MOST_CHANNELS or height * width > MOST_PIXELS:
        raise ConfigError(
            f"{quoted(tuple(input_size))} is no size of an image: channels, height and width.",
            ("input_size",),
        )
    if classes is not None:
        if len(classes) != num_classes:
            raise ConfigError(
                f"These are {len(classes)} names, and num_classes is {num_classes}.", ("classes",)
            )
        check_names(classes)
    check_normalisation(channels, mean, std)


def check_names(classes: Sequence[str]) -> None:
    """Make sure that every class has a name of its own, since labels are matched by names.

    Raises:
        ConfigError: two have the same, as people read them.
    """
    seen: set[str] = set()
    for name in map(as_read, classes):
        if name in seen:
            raise ConfigError(
                f"Two classes have the name {quoted(name)}. Tell them apart.", ("classes",)
            )
        seen.add(name)


def check_normalisation(
    channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> None:
    """Make sure that a mean and a standard deviation are those of pixels in [0, 1].

    Raises:
        ConfigError: one is given and not the other, or a value is none of such pixels, as where
            they are of pixels from 0 to 255.
    """
    if mean is None and std is None:
        return
    for key, values, other in (("mean", mean, "std"), ("std", std, "mean")):
        if values is None:
            raise ConfigError(f"There is a {other} and no {key}. Give both, or none.", (key,))
        if len(values) != channels:
            raise ConfigError(
                f"These are {len(values)} numbers, and images have {channels} channels.", (key,)
            )
        for value in values:
            if not 0 <= value <= 1 or (key == "std" and value == 0):
                raise ConfigError(
                    f"{value:g} is no {key} of pixels in [0, 1]; one of pixels from 0 to 255 is to "
                    "be divided by 255.",
                    (key,),
                )


def as_read(name: str) -> str:
    """A name as people read it: an accent may be written in two ways (Unicode NFC)."""
    return unicodedata.normalize("NFC", name)
