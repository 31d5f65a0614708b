"""Facts about images that are found out by reading them, kept beside the decoded images."""

import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdzoo.errors import UserError
from kdzoo.files import read_bytes, write_text


def remembered(cache: Path, name: str, find: Callable[[], Any]) -> Any:
    """What ``find`` found when it was asked for it first; None is not kept.

    What is damaged is found anew.

    Args:
        cache: the folder of the cache of decoded images.
        name: of the file in it; another one wherever something else may be found.
        find: what it returns can be written as JSON.
    """
    path = cache / name
    with suppress(OSError, ValueError):
        return _read(path)
    found = find()
    if found is not None:
        with suppress(OSError, UserError):  # the cache of the images says that it cannot be written
            cache.mkdir(parents=True, exist_ok=True)
            text = json.dumps(found)
            write_text(path, f"{text}\n{zlib.crc32(text.encode()):08x}\n")
    return found


def _read(path: Path) -> Any:
    text, checksum = read_bytes(path).decode().splitlines()
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        raise ValueError("its checksum is another")
    return json.loads(text)
