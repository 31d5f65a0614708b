"""Which files of a kind below a folder hold which split, where each holds many samples."""

import os
from collections import defaultdict
from pathlib import Path

from kdzoo.data.folders import entries_in
from kdzoo.data.stamps import watch
from kdzoo.datasets.parts import ALL
from kdzoo.datasets.split_folders import split_named
from kdzoo.errors import UserError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
SHORT_FOR_TAR = (".tgz", ".tbz", ".tbz2", ".txz")


def find_shards(root: Path, kind: str) -> dict[str, list[str]]:
    """The shards below a folder, sorted by path, by the split that they or their folders name.

    Args:
        root: the folder; or a shard, which then is the only one.
        kind: how their names end, such as ``.tar``.

    Returns:
        those of ``train``, ``val`` and ``test``; or of all, where no name tells.

    Raises:
        UserError: there are none, some are compressed, or some names tell a split and others not.
    """
    watch(root)
    if root.is_file() and root.suffix.lower() == kind:
        return {ALL: [str(root)]}
    found: dict[str | None, list[str]] = defaultdict(list)
    _collect(root, kind, None, found, set())
    if not found:
        raise UserError(f"There are no {kind} files in {root}. Point dataset.root at the shards.")
    unnamed = found.pop(None, None)
    if unnamed is None:
        return {str(split): shards for split, shards in found.items()}
    if found:
        raise UserError(
            f"The name of {unnamed[0]} tells no split, unlike that of "
            f"{next(iter(found.values()))[0]}. Name all shards, or the folders that they are in, "
            "train, val or test."
        )
    return {ALL: unnamed}


def _collect(
    folder: Path,
    kind: str,
    split: str | None,
    found: dict[str | None, list[str]],
    visited: set[str],
) -> None:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    for entry in entries_in(folder):
        path = folder / entry.name
        if path.is_dir():
            _collect(path, kind, split_named(entry.name) or split, found, visited)
        elif path.suffix.lower() == kind:
            found[split_named(path.stem) or split].append(str(path))
        elif _is_compressed(path, kind):
            raise UserError(
                f"{path} is compressed, so that its samples cannot be read one by one. Decompress "
                f"it to a {kind} file (images take no more room so), or take it away."
            )


def _is_compressed(path: Path, kind: str) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if kind == ".tar" and suffixes[-1:] and suffixes[-1] in SHORT_FOR_TAR:
        return True
    return len(suffixes) > 1 and suffixes[-2] == kind and suffixes[-1] in COMPRESSED
