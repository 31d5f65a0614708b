"""The index of a data set: which images it has, found once and kept while nothing has changed.

Listing a million files, looking which are images and whose they are takes a minute; asking the
system for the stamp of each, a few seconds. An index is a safetensors file beside the decoded
images, with a checksum in it. It holds if every folder that was looked into, every file that was
not taken for an image and every image has the size and the time of change that it had.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import __version__ as pillow
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kdzoo.data.encoded import IndexedImages
from kdzoo.data.images import FileImages
from kdzoo.data.locks import locked
from kdzoo.data.paths import Paths
from kdzoo.data.shards import ShardImages
from kdzoo.data.splits import Split, Splits
from kdzoo.data.stamps import stamps_of, watching
from kdzoo.errors import UserError
from kdzoo.files import replacing
from kdzoo.seal import KEY, is_broken, seal

FORMAT = 1
"""To be changed whenever other images would be found in the same files."""

SETTLED = 2 * 10**9
"""Nanoseconds after which a change of a folder surely shows in its time; some count in seconds."""

KINDS: dict[str, type[IndexedImages]] = {kind.__name__: kind for kind in (FileImages, ShardImages)}
"""What an index may be of."""

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def indexed(
    cache: Path, root: Path, settings: Mapping[str, Any], find: Callable[[], Splits]
) -> Splits:
    """What ``find`` finds below ``root``, or found there before if nothing has changed since.

    Args:
        cache: the folder of the index, which is that of decoded images.
        root: where the files are.
        settings: whatever else decides what is found.
        find: looks for the images; all of them are of one of the :data:`KINDS`.

    Raises:
        UserError: as ``find``.
    """
    what = [FORMAT, pillow, os.getcwd(), str(root), dict(settings)]
    name = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]
    path = cache / f"{name}.index"
    with suppress(*BROKEN):
        return _read(path)
    with locked(cache / f"{name}.lock"):
        try:
            return _read(path)  # another process may have made it meanwhile
        except (FileNotFoundError, _StaleError):
            pass
        except BROKEN as error:
            logger.warning("The index %s is broken (%s) and is made anew.", path, error)
        started = time.time_ns()
        with watching() as watched:
            splits = find()
        others = Paths.of(sorted(watched))
        stamps = stamps_of(others)
        if stamps[:, 1].max(initial=0) < started - SETTLED:
            _keep(path, splits, others, stamps)
        return splits


def _keep(path: Path, splits: Splits, others: Paths, stamps: np.ndarray) -> None:
    try:
        _write(path, splits, others, stamps)
    except (UserError, SafetensorError) as error:
        logger.warning("The list of images is not kept, and made at each start: %s", error)


class _StaleError(Exception):
    """The files are not what they were."""


BROKEN = (OSError, ValueError, KeyError, SafetensorError, _StaleError)
"""What reading an index raises that is not there, not whole or out of date."""


def _write(path: Path, splits: Splits, others: Paths, stamps: np.ndarray) -> None:
    arrays = _named("others", FileImages(others, stamps).arrays())
    for name, split in splits.as_dict().items():
        assert isinstance(split.images, IndexedImages)
        arrays |= _named(name, {**split.images.arrays(), "labels": split.labels})
    facts = seal(
        {
            "kind": type(splits.train.images).__name__,
            "classes": list(splits.classes),
            "notes": splits.notes,
            "splits": [*splits.as_dict()],
        },
        *_contents(arrays),
    )
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path, "Choose another folder with dataset.cache=DIR") as temporary:
        save_file(arrays, temporary, {"facts": json.dumps(facts)})


def _read(path: Path) -> Splits:
    if not path.is_file():
        raise FileNotFoundError(path)
    with safe_open(path, "numpy") as file:
        facts = json.loads(file.metadata()["facts"])
        arrays: Arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    if KEY not in facts or is_broken(facts, *_contents(arrays)):
        raise ValueError("its checksum is another")
    kind = KINDS[facts.get("kind", FileImages.__name__)]
    _current(FileImages, _part("others", arrays))
    splits = {}
    for name in facts["splits"]:
        of_split = _part(name, arrays)
        splits[name] = Split(_current(kind, of_split), of_split["labels"])
    return Splits(
        splits["train"],
        splits["test"],
        facts["classes"],
        splits.get("val"),
        notes=tuple(facts["notes"]),
    )


def _current(kind: type[IndexedImages], arrays: Arrays) -> IndexedImages:
    images = kind.of_arrays(arrays)
    if not images.is_current():
        raise _StaleError
    return images


def _named(name: str, arrays: Arrays) -> Arrays:
    return {f"{name}.{part}": array for part, array in arrays.items()}


def _part(name: str, arrays: Arrays) -> Arrays:
    return {
        whole.removeprefix(f"{name}."): array
        for whole, array in arrays.items()
        if whole.startswith(f"{name}.")
    }


def _contents(arrays: Arrays) -> Iterator[bytes]:
    for name in sorted(arrays):
        yield np.ascontiguousarray(arrays[name]).tobytes()
