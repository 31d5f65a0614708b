"""Carries out one run of a published table again, and compares what comes of it."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import stdev
from typing import Any

from scipy import stats

from kdzoo import registry
from kdzoo.component import validate
from kdzoo.compose import merge_all, parse_override
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, UserError
from kdzoo.files import read_json
from kdzoo.report.results_file import FILE, KeptRun, keep, read_results
from kdzoo.report.run_files import OF_RUNS, LeftOut, read_run
from kdzoo.report.statistics import CONFIDENCE
from kdzoo.training.display import Display
from kdzoo.training.result import Result, check_figures
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import (
    CONTENT,
    RunIdentity,
    identify,
    settings_identity,
    without_places,
)

OUT = "runs/verify"
"""Where the new run goes by default: not where the old one may still be."""

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


def find_run(
    published: Path,
    dataset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    seed: int | None = None,
) -> tuple[KeptRun, list[KeptRun]]:
    """The one run of a table that is meant, and all runs of its row.

    Args:
        published: a ``results.json``, the folder of a report, or that of one finished run.
        dataset: the label that the run has; any by default, as are those that follow.
        backbone: likewise.
        method: likewise.
        seed: likewise.

    Raises:
        UserError: there is no such run, or there are several.
    """
    runs = _kept_in(published)
    wanted = (dataset, backbone, method)
    found = [
        run
        for run in runs
        if all(one in (None, label) for one, label in zip(wanted, _labels(run), strict=True))
        and seed in (None, run.result.seed)
    ]
    if not runs:
        raise UserError(f"{published} holds no runs: there is nothing to verify.")
    if len(found) != 1:
        are = "is no such run" if not found else f"are {len(found)} such runs"
        raise UserError(
            f"There {are} in {published}. Name one by --method, --seed, --backbone and --dataset:",
            *(f"  {run}" for run in (found or runs)),
        )
    return found[0], [run for run in runs if _labels(run) == _labels(found[0])]


def verify(
    kept: KeptRun, row: Sequence[KeptRun], overrides: Sequence[str], display: Display
) -> Verification:
    """Train a published run again.

    Args:
        kept: the run.
        row: all runs of its row, for the spread over the other seeds.
        overrides: ``KEY=VALUE`` of settings that say where and how, such as ``dataset.root`` or
            ``device``; by default as many CPU threads as then, and a folder of its own.
        display: what a person sees of it.

    Raises:
        UserError: the run does not say what it was, or cannot be carried out here as it was: a
            setting is another one, the data, the network or other people's code have changed, or
            the run itself lies where the new one is to go.
    """
    if kept.identity is None:
        raise UserError(
            f"{kept} was published by a version of kdzoo that did not keep what a run was. Only "
            "kdzoo bench with the spec behind the table carries it out again."
        )
    config, then = _as_it_was(kept, overrides)
    splits = registry.datasets.get(config.dataset.name)(config.dataset).load()
    now = identify(config, splits)
    different = now.differences(then)
    if different:
        listed = "; ".join(f"{name} was {value}" for name, value in different.items())
        raise UserError(f"This would be another run than {kept}: {listed}.")
    folder = RunFolder.of(config, now)
    if folder.is_finished:  # by an earlier verification
        if check_figures(Result, folder.read_result(), str(folder.result)) == kept.result:
            raise UserError(
                f"{folder.path} is the very run that is to be verified, which would be replaced. "
                "Choose another folder with out=DIR."
            )
        config = config.model_copy(update={"resume": "never"})
    folder = train(config, display)
    return Verification(
        kept,
        _kept_in(folder.path)[0],
        folder,
        _ran_on(kept.environment, read_json(folder.environment)),
        _spread(row, kept),
    )


def _kept_in(published: Path) -> list[KeptRun]:
    if published.is_dir() and not (published / FILE).exists():
        folder = RunFolder(published)
        if not OF_RUNS.intersection(os.listdir(published)):
            below = sorted(one.parent for one in published.rglob(folder.result.name))
            raise UserError(_no_run(published, below))
        run = read_run(folder)
        if isinstance(run, LeftOut):
            raise UserError(f"{published} has no {FILE}, and is no finished run: {run.reason}")
        return [keep(run)]
    return list(read_results(published).runs)


def _no_run(folder: Path, below: Sequence[Path]) -> str:
    """What to say of a folder that is neither a report's nor a run's."""
    if not below:
        return f"{folder} has no {FILE}, and there is no finished run in it."
    return (
        f"{folder} is a folder of runs, and one at a time is verified: of {len(below)}, "
        f"{below[0]} is one. kdzoo report {folder} writes the {FILE} from which --method and "
        "--seed choose."
    )


def _labels(run: KeptRun) -> tuple[str, str, str]:
    return run.labels.dataset, run.labels.backbone, run.labels.method


def _as_it_was(kept: KeptRun, overrides: Sequence[str]) -> tuple[RunConfig, RunIdentity]:
    """The run's config with the overrides, and the identity that it is to have."""
    try:
        then = RunIdentity.from_json(kept.identity)
        method = dict(then.settings["method"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"What {kept} was, its identity, cannot be read.") from None
    # In place of a file's path stands what was in it; where it lies now, an override says.
    held = {key for key, one in method.items() if isinstance(one, dict) and one.keys() == {CONTENT}}
    settings: dict[str, Any] = {
        **then.settings,
        "method": {key: value for key, value in method.items() if key not in held},
    }
    threads = kept.environment.get("threads")
    places = {"out": OUT, "training": {"threads": threads}} if threads else {"out": OUT}
    try:
        was = validate(RunConfig, settings)
        config = validate(RunConfig, merge_all([settings, places, *map(parse_override, overrides)]))
    except ConfigError as error:
        raise UserError(f"{kept} cannot be carried out like that: {error}") from None
    # Settings that have come since stand at their defaults.
    filled = {
        **settings_identity(was),
        "method": {**was.identity()["method"], **_only(method, held)},
    }
    return config, replace(then, settings=without_places(filled, then))


def _only(settings: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: settings[key] for key in keys}


def _ran_on(then: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[str, str]]:
    names = [name for name in then.keys() | now.keys() if name not in ("packages", "system")]
    pairs = {name: (str(then.get(name)), str(now.get(name))) for name in sorted(names)}
    packages = [one.get("packages") for one in (then, now)]
    before, after = (one if isinstance(one, dict) else {} for one in packages)
    pairs |= {name: (str(before.get(name)), str(after.get(name))) for name in sorted(before)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _spread(row: Sequence[KeptRun], kept: KeptRun) -> float | None:
    """Over the other seeds, so that a wrong figure does not vouch for itself."""
    seed = kept.result.seed
    students = [run.result.last.student.top1 for run in row if run.result.seed != seed]
    if len(students) < 2:
        return None
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(students) - 1))
    return t * stdev(students) * 2**0.5
