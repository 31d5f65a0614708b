"""Durations as people type them: 90s, 10min, 1.5h."""

import re

from kdzoo.errors import UserError, quoted
from kdzoo.scalars import decimal

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
LONGEST = 366 * SECONDS["d"]
_DURATION = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?) *([a-z]+)", re.IGNORECASE)


def seconds(text: str) -> float:
    """How long that is.

    Raises:
        UserError: it is no number with a unit, or not above 0 and up to a year.
    """
    match = _DURATION.fullmatch(text.strip())
    number = decimal(match[1]) if match else None
    unit = SECONDS.get(match[2].lower()) if match else None
    if number is None or unit is None or not 0 < number * unit <= LONGEST:
        raise UserError(
            f"This is no duration: {quoted(text)}. Write a number above 0 and its unit, "
            f"{', '.join(SECONDS)}: 90s, 10min, 1.5h."
        )
    return number * unit
