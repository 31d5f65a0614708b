"""Images that are in two sets: what is measured on them says little about images not yet seen."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdzoo.data.cache import known_key
from kdzoo.data.encoded import EncodedImages
from kdzoo.data.images import ArrayImages, Images, evenly_spaced
from kdzoo.data.remembered import remembered

LOOKED_FOR = 1000
"""Files that are looked for among others, evenly spaced; decoded images are all looked for."""


@dataclass(frozen=True)
class Repeats:
    """Which images of one set are in another one too.

    Attributes:
        looked_for: how many of them were looked for.
        pairs: the positions in both sets, of each that was found.
    """

    looked_for: int
    pairs: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.pairs)


def known_repeats(images: Images, among: Images, cache: Path) -> Repeats | None:
    """As :func:`find_repeats`; of the same files they are found once, and kept in ``cache``."""
    keys = (known_key(images), known_key(among))
    if None in keys:
        return find_repeats(images, among)

    def find() -> list[Any] | None:
        found = find_repeats(images, among)
        return None if found is None else [found.looked_for, found.pairs]

    known = remembered(cache, f"{'-'.join(map(str, keys))}.repeats", find)
    if known is None:
        return None
    looked_for, pairs = known
    return Repeats(looked_for, [(position, trained_on) for position, trained_on in pairs])


def find_repeats(images: Images, among: Images) -> Repeats | None:
    """Which images are among others: by their pixels where both are decoded, else by their files.

    Only images that are alike at a glance (one row of pixels, the size of a file) are read whole.
    For 10,000 images of 32x32 pixels among 50,000 this takes 0.1 s.

    Returns:
        None where they cannot be compared: one is decoded and the other is not, they have different
        sizes, or they are a person's own data set, in which every image would have to be made.
    """
    if isinstance(images, ArrayImages) and isinstance(among, ArrayImages):
        if images.array.shape[1:] != among.array.shape[1:]:
            return None
        positions: Sequence[int] = range(len(images))
        glances, glances_among = _middle_rows(images.array), _middle_rows(among.array)
    elif isinstance(images, EncodedImages) and isinstance(among, EncodedImages):
        positions = evenly_spaced(images, LOOKED_FOR)
        glances, glances_among = images.sizes.tolist(), among.sizes.tolist()
    else:
        return None
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for position in positions:
        alike[glances[position]].append(position)
    first: dict[Hashable, int] = {}
    seen: set[Hashable] = set()
    for position, glance in enumerate(glances_among):
        if glance in alike and (content := _content(among, position)) is not None:
            seen.add(glance)
            first.setdefault(content, position)
    pairs = [
        (position, first[content])
        for glance in seen
        for position in alike[glance]
        if (content := _content(images, position)) in first
    ]
    return Repeats(len(positions), sorted(pairs))


def _middle_rows(array: np.ndarray) -> list[Hashable]:
    rows = np.ascontiguousarray(array[:, array.shape[1] // 2]).reshape(len(array), -1)
    return [row.tobytes() for row in rows]


def _content(images: Images, position: int) -> bytes | None:
    """A digest of an image; None where it cannot be read."""
    if isinstance(images, EncodedImages):
        return images.digest(position)
    return hashlib.sha256(images[position].tobytes()).digest()
