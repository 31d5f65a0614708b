"""Settings as they were typed, and what an untyped one is where no field says so."""

import re
from typing import Any

NOTHING = frozenset({"", "~", "null", "Null", "NULL", "none", "None"})
"""What stands for no value, where a setting may have none."""
YES_OR_NO = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
MOST_DIGITS = 1000
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([+-]?)\.?(inf|infinity|nan)", re.IGNORECASE)
_PRECISE = 2**53


class Scalar(str):
    """A value as it was written, without quotes: the field that takes it decides what it is."""

    __slots__ = ()


def whole(text: str) -> int | None:
    """The integer that decimal digits stand for, also written as 1e3 or 128.0; None for others.

    Never octal (010 is 10), nor in base 60 (12:00), as in old YAML.
    """
    if len(text) > MOST_DIGITS:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    number = decimal(text)
    if number is not None and number.is_integer() and abs(number) < _PRECISE:
        return int(number)
    return None


def decimal(text: str) -> float | None:
    """The number that a text stands for, such as 1e-3 or .5; None for others."""
    if len(text) > MOST_DIGITS:
        return None
    if _DECIMAL.fullmatch(text):
        return float(text)
    if match := _NOT_FINITE.fullmatch(text):
        return float(match[1] + match[2])
    return None


def typed(value: Any) -> Any:
    """A value, and all within it, that no field gives a type: numbers, true and false, nothing.

    Digits with a leading zero stay text.
    """
    if isinstance(value, Scalar):
        return _typed(str(value))
    if isinstance(value, dict):
        return {key: typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry) for entry in value]
    return value


def _typed(text: str) -> Any:
    word = text.strip()
    if word in NOTHING:
        return None
    if word.lower() in YES_OR_NO:
        return YES_OR_NO[word.lower()]
    if re.match(r"[+-]?0[0-9]", word) or len(word) > MOST_DIGITS:
        return text
    if _WHOLE.fullmatch(word):
        return int(word)
    number = decimal(word)
    return text if number is None else number
