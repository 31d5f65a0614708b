"""What is in a tar file and where; nothing is unpacked, and no member's content is looked at."""

import os
import tarfile
from typing import NamedTuple

from kdzoo.errors import UserError

BLOCK = 512
"""Bytes of a header; a tar file ends with such blocks of zeros."""

MOST_PADDING = 2**20
"""Bytes of zeros at the end that are looked through; programs write up to 10 KiB."""


class Member(NamedTuple):
    """A regular file in a tar file: its name, and the offset and the number of its bytes."""

    name: str
    offset: int
    size: int


def members_of(path: str) -> tuple[list[Member], list[str]]:
    """The regular files in a tar file, in its order, and the names of what is none, but folders.

    Raises:
        UserError: it is no tar file, is compressed, or does not end as one, so that some of it may
            be missing.
    """
    members: list[Member] = []
    others: list[str] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.isreg() and not info.issparse():
                    members.append(Member(info.name, info.offset_data, info.size))
                elif not info.isdir():
                    others.append(info.name)
            end = archive.offset
        with open(path, "rb") as file:
            file.seek(end)
            rest = file.read(MOST_PADDING)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read as a tar file: {error}. Shards are tar files that are not "
            "compressed; get it anew, or take it away."
        ) from error
    # tarfile stops without a word where a header is damaged
    if len(rest) < BLOCK or any(rest[:BLOCK]):
        after = f"after {members[-1].name}" if members else "at its beginning"
        raise UserError(
            f"{path} is incomplete or damaged {after}: {os.path.getsize(path) - end:,} bytes that "
            "follow are neither a member nor the end of a tar file. Get it anew, or take it away."
        )
    if any(rest):
        raise UserError(
            f"Behind the end of the tar file {path} there is more, as if two had been joined. Keep "
            "them apart."
        )
    return members, others
