"""The parts of a data set by what they are called, as the splits that a run needs."""

from collections.abc import Mapping, Sequence

from kdzoo.data.selection import split_off
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import UserError
from kdzoo.seeding import stream

ALL = "all"
"""The part in which all samples are, where nothing says which are to train on."""


def as_splits(
    parts: Mapping[str, Split],
    classes: Sequence[str],
    *,
    where: str,
    test_fraction: float,
    purpose: str,
    notes: Sequence[str] = (),
) -> Splits:
    """The splits of a data set: a lone part is divided, and ``val`` is the test split without one.

    Args:
        parts: of ``train``, ``val`` and ``test`` those that there are, or :data:`ALL`.
        classes: their names, in the order of the labels.
        where: the samples are, for messages.
        test_fraction: the part of each class that is set aside of a lone part.
        purpose: names the stream of random numbers that divides.
        notes: of the splits.

    Raises:
        UserError: there is nothing to train on, or too little to divide.
    """
    notes = list(notes)
    parts = dict(parts)
    train = parts.pop("train", parts.pop(ALL, None))
    if train is None:
        raise UserError(f"{where} has {' and '.join(parts)}, but nothing to train on beside it.")
    if not parts:
        train, parts["test"] = split_off(train, test_fraction, stream(0, purpose))
        if not len(parts["test"]):
            raise UserError(
                f"{where} holds {len(train)} samples of {len(classes)} classes, too few to set "
                f"dataset.test_fraction={test_fraction:g} of them aside to test on, since each "
                "class needs one to train on."
            )
        notes.append(
            f"nothing to test on in {where}: {test_fraction:.3g} of each class is the test split "
            "(dataset.test_fraction)"
        )
    elif "test" not in parts:
        parts["test"] = parts.pop("val")
        notes.append(f"val of {where} is used as the test split")
    return Splits(train, parts["test"], classes, parts.get("val"), notes=tuple(notes))
