"""What a network is trained for: the classes that its logits mean, and its normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdzoo.task_checks import as_read

LISTED = 5


@dataclass(frozen=True)
class Task:
    """What the logits mean and how the images were normalised; None is what nobody said.

    Attributes:
        classes: the names of the K classes, in the order of the logits.
        mean: of each channel, for images in [0, 1]; what was subtracted.
        std: of each channel; what the image was then divided by.
    """

    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class UnopenedTask(Task):
    """Of data that are not opened yet: only the classes are known.

    Asked how the images are normalised, it says what would change nothing.

    Attributes:
        was_asked: for the normalisation: what was made of the answer has to be made again.
    """

    was_asked: bool

    def __init__(self, classes: tuple[str, ...]) -> None:
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "was_asked", False)

    def __getattribute__(self, name: str) -> Any:
        if name not in ("mean", "std"):
            return super().__getattribute__(name)
        object.__setattr__(self, "was_asked", True)
        return (0.0,) * 3 if name == "mean" else (1.0,) * 3


class OtherClassesError(ValueError):
    """Two sets of classes are not the same.

    Args:
        missing: those that are wanted and not given.
        extra: those that are given and not wanted.
    """

    def __init__(self, missing: Sequence[str], extra: Sequence[str]) -> None:
        parts = [f"it lacks {listed(missing)}" if missing else ""]
        parts.append(f"it has {listed(extra)} besides" if extra else "")
        super().__init__(" and ".join(filter(None, parts)))


def places(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """For each class in ``wanted``, its place in ``given``, by name.

    Names are compared as people read them: an accent may be written in two ways (Unicode NFC).

    Raises:
        OtherClassesError: one of the two has a class that the other has not.
    """
    place, missing, extra = _matched(wanted, given)
    if missing or extra:
        raise OtherClassesError(missing, extra)
    return place


def places_among(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """As :func:`places`, where ``given`` may have other classes besides.

    Raises:
        OtherClassesError: it lacks a class of ``wanted``.
    """
    place, missing, extra = _matched(wanted, given)
    if missing:
        raise OtherClassesError(missing, extra)
    return place


def _matched(wanted: Sequence[str], given: Sequence[str]) -> tuple[list[int], list[str], list[str]]:
    """The places of those that are in both, those only in ``wanted``, and those only ``given``."""
    place = {as_read(name): position for position, name in enumerate(given)}
    names = [as_read(name) for name in wanted]
    missing = [name for name in names if name not in place]
    extra = [name for name in place if name not in set(names)]
    return [place[name] for name in names if name in place], missing, extra


def listed(names: Sequence[str]) -> str:
    """The first few names, in quotes."""
    return ", ".join(f"'{name}'" for name in names[:LISTED]) + (", ..." if names[LISTED:] else "")
