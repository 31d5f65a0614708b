"""What of a published run came out again, and whether that is the same."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdzoo.report.results_file import KeptRun
from kdzoo.training.run_folder import RunFolder

OF_THE_MACHINE: dict[str, Any] = {
    **dict.fromkeys(("identity", "seconds", "seconds_per_epoch", "peak_memory"), True),
    "student": {"sha256"},
}
"""What of a result is no figure, or may be another one each time."""
CHAOTIC = {"best.epoch", "left_out"}
"""Counts that may be others where the training rounds another way."""
LATER = ("test_repeats", "last.unaveraged", "best.unaveraged", "curve")
"""What reports of earlier versions do not have: where it was not published, it is not compared."""

Figure = int | float | str | None


@dataclass(frozen=True)
class Verification:
    """A run and its repetition.

    Attributes:
        kept: the run as it was published.
        again: the repetition, in the same form.
        folder: the repetition.
        ran_on: what the two ran on where that differs, by name: (then, now).
        spread: how far the students of two seeds of this row lie apart at most, in percentage
            points, with 95 % confidence: t(n - 1) s √2 over the n other seeds that were published;
            None where there is no second one.
    """

    kept: KeptRun
    again: KeptRun
    folder: RunFolder
    ran_on: dict[str, tuple[str, str]]
    spread: float | None

    @property
    def same_student(self) -> bool:
        """Whether the two students are the same, byte by byte."""
        then = self.kept.result.student.sha256
        return then is not None and then == self.again.result.student.sha256

    @cached_property
    def different(self) -> dict[str, tuple[Figure, Figure]]:
        """The published figures that did not come out again, by where they are: (then, now)."""
        then, now = map(_figures, (self.kept, self.again))
        names = [name for name in {**then, **now} if name in then or not _came_later(name, then)]
        pairs = {name: (then.get(name), now.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def same_figures(self) -> bool:
        """Whether all published figures are equal, but for time and memory."""
        return not self.different

    @property
    def close_figures(self) -> bool:
        """Whether they are equal but for rounding, as a student's are."""
        return all(_is_rounding(name, *pair) for name, pair in self.different.items())

    @property
    def other_counts(self) -> list[str]:
        """Figures that differ and that no rounding changes, such as sizes and parameters."""
        return [
            name
            for name, pair in self.different.items()
            if name not in CHAOTIC and not all(isinstance(one, float) for one in pair)
        ]

    @property
    def same_last_epoch(self) -> bool:
        """Whether all figures of the last epoch are equal to the last digit."""
        return not any(name.startswith("last.") for name in self.different)

    @property
    def difference(self) -> float:
        """How much more accurate the repetition's student is, in percentage points."""
        return self.again.result.last.student.top1 - self.kept.result.last.student.top1

    @property
    def best_difference(self) -> float:
        """The same of the best epochs."""
        return self.again.result.best.student.top1 - self.kept.result.best.student.top1

    @property
    def agrees(self) -> bool:
        """Whether the repetition is equal, or as near as another seed would be.

        Training is chaotic: where the hardware or a version rounds another way, the same seed ends
        elsewhere, but no further away than another seed. A training that ended the same has the
        same figures: if others were published, they are not its own.
        """
        if self.same_last_epoch:
            return self.same_figures
        if self.same_student:
            return self.close_figures
        if self.spread is None or self.other_counts:
            return False
        return max(abs(self.difference), abs(self.best_difference)) <= self.spread


def _is_rounding(name: str, then: Figure, now: Figure) -> bool:
    """Whether the same student's figure may differ so where its evaluation rounds another way."""
    if not (isinstance(then, float) and isinstance(now, float)):
        return False
    in_percent = not name.endswith((".nll", ".l2"))
    return math.isclose(then, now, rel_tol=0.01, abs_tol=0.1 if in_percent else 0.001)


def _figures(of: KeptRun) -> dict[str, Figure]:
    """All figures of a run that come out again where it is repeated, by where they are."""
    curve = {f"epoch {point.epoch}": point.model_dump(exclude={"epoch"}) for point in of.curve}
    return dict(_leaves({**of.result.model_dump(exclude=OF_THE_MACHINE), "curve": curve}))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Figure]]:
    """What nested mappings and lists hold, but for what is None."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value, 1))
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, value


def _came_later(name: str, published: Mapping[str, Figure]) -> bool:
    """Whether a figure is of a kind of which none was published, maybe by an earlier version."""
    kinds = (kind for kind in LATER if name.startswith(kind))
    return any(not any(one.startswith(kind) for one in published) for kind in kinds)
