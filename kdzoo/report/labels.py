"""What tables call things: printable names, settings in words, and labels that tell runs apart."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.errors import in_line

LONGEST_LABEL = 200
LONGEST_LINE = 1500
"""Characters."""
OUTER_SPACES = re.compile("^ +| +$")


def plain(text: str) -> str:
    """One short line of printable text, whatever a file gave as a name.

    What cannot be seen is an escape, and the end of what is too long a digest: names that differ
    stay different.
    """
    visible = in_line(text)
    shown = OUTER_SPACES.sub(lambda spaces: len(spaces[0]) * r"\x20", visible)
    if len(shown) > LONGEST_LABEL:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        shown = f"{shown[: LONGEST_LABEL - 12]}... {digest}"
    return shown or "?"


def one_line(text: str) -> str:
    """A sentence in one line of printable text, whose names may hold line breaks."""
    line = in_line(text)
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 4]} ..."


def inert(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@" and text else text


def tell_apart(named: Sequence[tuple[str, Any]]) -> list[str]:
    """A label for each (name, settings): the name and, where they differ, what differs.

    Equal settings of one name get equal labels, others different ones.
    """
    settings_of: dict[str, list[dict[str, str]]] = defaultdict(list)
    for name, settings in named:
        settings_of[name].append(_flat(settings))
    differing = {name: _differing(alike) for name, alike in settings_of.items()}
    return [_label(name, _flat(settings), differing[name]) for name, settings in named]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (dotted key, value) pairs."""
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            pairs += flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def short(value: Any) -> str:
    """A setting's value as people write it."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(short, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {short(entry)}" for key, entry in value.items()) + "}"
    return str(value)


def _flat(settings: Any) -> dict[str, str]:
    """Dotted keys and readable values; what is no mapping is one value, and None is no setting."""
    mapping = settings if isinstance(settings, Mapping) else {"settings": settings}
    return {key: short(value) for key, value in flatten(mapping) if value is not None}


def _differing(alike: Sequence[dict[str, str]]) -> list[str]:
    keys = {key: None for settings in alike for key in settings}
    return [key for key in keys if len({settings.get(key) for settings in alike}) > 1]


def _label(name: str, settings: Mapping[str, str], keys: Sequence[str]) -> str:
    parts = [f"{key.removeprefix('method.')}={settings[key]}" for key in keys if key in settings]
    return plain(f"{name} ({', '.join(parts)})" if parts else name)
