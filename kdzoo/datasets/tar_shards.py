"""Which tar files below a folder hold which split."""

import os
from collections import defaultdict
from pathlib import Path

from kdzoo.data.folders import entries_in
from kdzoo.data.stamps import watch
from kdzoo.datasets.parts import ALL
from kdzoo.datasets.split_folders import split_named
from kdzoo.errors import UserError

COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst")


def find_shards(root: Path) -> dict[str, list[str]]:
    """The tar files below a folder, sorted by path, by the split that they or their folders name.

    Args:
        root: the folder; or a tar file, which then is the only one.

    Returns:
        those of ``train``, ``val`` and ``test``; or of all, where no name tells.

    Raises:
        UserError: there are none, some are compressed, or some names tell a split and others not.
    """
    watch(root)
    if root.is_file() and root.suffix.lower() == ".tar":
        return {ALL: [str(root)]}
    found: dict[str | None, list[str]] = defaultdict(list)
    _collect(root, None, found, set())
    if not found:
        raise UserError(f"There are no tar files in {root}. Point dataset.root at the shards.")
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
    folder: Path, split: str | None, found: dict[str | None, list[str]], visited: set[str]
) -> None:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    for entry in entries_in(folder):
        path = folder / entry.name
        if path.is_dir():
            _collect(path, split_named(entry.name) or split, found, visited)
        elif path.suffix.lower() == ".tar":
            found[split_named(path.stem) or split].append(str(path))
        elif path.suffix.lower() in COMPRESSED and ".t" in path.name:
            raise UserError(
                f"{path} is compressed, so that its samples cannot be read one by one. Decompress "
                "it to a .tar file (images take no more room so), or take it away."
            )
