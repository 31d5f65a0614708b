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

from kdzoo.data.images import FileImages
from kdzoo.data.locks import locked
from kdzoo.data.paths import Paths
from kdzoo.data.splits import Split, Splits
from kdzoo.data.stamps import stamps_of, watching
from kdzoo.errors import UserError
from kdzoo.files import replacing
from kdzoo.seal import KEY, is_broken, seal

FORMAT = 1
"""To be changed whenever other images would be found in the same files."""

SETTLED = 2 * 10**9
"""Nanoseconds after which a change of a folder surely shows in its time; some count in seconds."""

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
        find: looks for the images; all of them are :class:`FileImages`.

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
    arrays = {**_of_paths("others", others), "others.stamps": stamps}
    for name, split in splits.as_dict().items():
        images = split.images
        assert isinstance(images, FileImages)
        arrays |= _of_paths(name, Paths.of(images.paths))
        arrays |= {f"{name}.stamps": images.stamps, f"{name}.labels": split.labels}
    facts = seal(
        {"classes": list(splits.classes), "notes": splits.notes, "splits": [*splits.as_dict()]},
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
    _check("others", arrays)
    splits = {}
    for name in facts["splits"]:
        paths = _check(name, arrays)
        images = FileImages(paths, arrays[f"{name}.stamps"])
        splits[name] = Split(images, arrays[f"{name}.labels"])
    return Splits(
        splits["train"],
        splits["test"],
        facts["classes"],
        splits.get("val"),
        notes=tuple(facts["notes"]),
    )


def _check(name: str, arrays: Arrays) -> Paths:
    paths = Paths.joined(arrays[f"{name}.text"], arrays[f"{name}.lengths"])
    if not np.array_equal(stamps_of(paths), arrays[f"{name}.stamps"]):
        raise _StaleError
    return paths


def _of_paths(name: str, paths: Paths) -> Arrays:
    return {f"{name}.text": paths.text, f"{name}.lengths": paths.ends - paths.starts}


def _contents(arrays: Arrays) -> Iterator[bytes]:
    for name in sorted(arrays):
        yield np.ascontiguousarray(arrays[name]).tobytes()
