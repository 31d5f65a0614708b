"""A million paths in three arrays, in place of a million objects.

Worker processes share the arrays' memory with their parent. Of objects each would get a copy, page
by page, since looking at one changes its count of references.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


@dataclass(frozen=True, eq=False)
class Paths(Sequence[str]):
    """Paths, encoded as the file system has them.

    Attributes:
        text: uint8, all of them one after another.
        starts, ends: int64 [N], where each begins and ends there.
    """

    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, paths: Iterable[str]) -> "Paths":
        """These paths, in their order."""
        encoded = [os.fsencode(path) for path in paths]
        return cls.joined(
            np.frombuffer(b"".join(encoded), np.uint8), np.array(list(map(len, encoded)), np.int64)
        )

    @classmethod
    def joined(cls, text: np.ndarray, lengths: np.ndarray) -> "Paths":
        """Paths of these ``lengths``, int64 [N], that follow each other in ``text``."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(text, ends - lengths, ends)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Paths":
        """Those of which these are the :meth:`arrays`."""
        return cls.joined(arrays["text"], arrays["lengths"])

    def arrays(self) -> dict[str, np.ndarray]:
        """What is to be kept of them."""
        return {"text": self.text, "lengths": self.ends - self.starts}

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int, /) -> str: ...
    @overload
    def __getitem__(self, index: slice, /) -> "Paths": ...
    def __getitem__(self, index: int | slice, /) -> "str | Paths":
        if isinstance(index, slice):
            return Paths(self.text, self.starts[index], self.ends[index])
        return os.fsdecode(self.text[self.starts[index] : self.ends[index]].tobytes())

    def __iter__(self) -> Iterator[str]:
        text = self.text.tobytes()
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield os.fsdecode(text[start:end])

    def take(self, index: np.ndarray) -> "Paths":
        """Those at the positions ``index``, in that order."""
        return Paths(self.text, self.starts[index], self.ends[index])


def take(paths: Sequence[str], index: np.ndarray) -> Sequence[str]:
    """The paths at the positions ``index``, in that order."""
    return paths.take(index) if isinstance(paths, Paths) else [paths[i] for i in index]
