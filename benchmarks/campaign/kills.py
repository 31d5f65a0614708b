"""Runs that are killed, several times, and then run to their end.

A run dies at one of its file operations, which is when there is something to lose; at any moment
of its time; and, now and then, as a process of its own anywhere from the start of Python on.
"""

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.campaign.command import Ended, preload
from benchmarks.campaign.deaths import anonymous, kill_after, kill_at, kill_process, watched
from benchmarks.campaign.photos import make_photos
from benchmarks.campaign.run_files import figures, halves, names
from benchmarks.campaign.verdict import Verdict, gist

START = 6
"""Seconds, about, that Python and torch take to start."""
SMALL = ("backbone=resnet8", "batch_size=64", "lr=0.02", "device=cpu", "precision=fp32")
DIGITS = (*SMALL, "dataset.train_subset=128", "epochs=3")
PHOTOS = (
    *SMALL,
    "method=independent",
    "dataset=imagefolder",
    "dataset.root=photos",
    "dataset.cache=cache",
    "dataset.workers=0",
    "epochs=3",
)


def cases(folder: Path, seed: int, count: int, only: int | None = None) -> Iterator[Verdict]:
    """Verdicts on runs that were killed ``count`` times in all, or the verdict on one of them.

    Args:
        folder: where the runs go.
        seed: what they are drawn from.
        count: of kills.
        only: the number of a run, to have it alone.
    """
    preload()
    works = _works(folder)
    number, landed = only or 0, 0
    while landed < count:
        verdict, kills = _case(folder, works[number % len(works)], seed, number)
        yield verdict
        if only is not None:
            return
        landed += kills
        number += 1


def _works(folder: Path) -> list["_Work"]:
    from kdzoo import registry

    runs = [(f"method={method}", *DIGITS) for method in registry.methods.names()]
    held_out = ("method=mbde", *DIGITS, "dataset.val_fraction=0.2", "training.eval_every=2")
    return [_Work(folder / f"whole-{i}", run) for i, run in enumerate([PHOTOS, held_out, *runs])]


@dataclass
class _Work:
    """A run, and what it comes to, in ``folder``, when nobody disturbs it."""

    folder: Path
    settings: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return ["run", *self.settings, "out=runs"]

    @property
    def name(self) -> str:
        return " ".join(setting for setting in self.settings if setting not in DIGITS)

    @cached_property
    def undisturbed(self) -> "_Outcome":
        place = _fresh(self.folder, self)
        started = time.perf_counter()
        end, trace = watched(self.command, place)
        seconds = time.perf_counter() - started
        if end.code != 0:
            raise RuntimeError(f"kdzoo {' '.join(self.command)} fails by itself: {end.said}")
        return _Outcome(_all_figures(place), names(place), len(trace), seconds)


@dataclass(frozen=True)
class _Outcome:
    figures: dict[str, Any]
    files: set[str]
    operations: int
    seconds: float


def _case(folder: Path, work: _Work, seed: int, number: int) -> tuple[Verdict, int]:
    """A run that is killed up to four times, and how often it was."""
    whole = work.undisturbed
    rng = random.Random(f"kills/{seed}/{number}")
    place = _fresh(folder / f"case-{number}", work)
    phases: list[str] = []
    faults: list[str] = []
    for _ in range(rng.randint(1, 4)):
        chance = rng.random()
        moment = rng.random()
        if chance < 0.7:
            phase = kill_at(work.command, place, 1 + int(moment * whole.operations))
        elif chance < 0.97:
            phase = kill_after(work.command, place, moment * whole.seconds)
        else:
            phase = kill_process(work.command, place, moment * (START + whole.seconds))
        if phase is None:  # it was at its end before
            break
        phases.append(phase)
        faults += [f"half a {name} under its own name" for name in halves(place)]
    end, _ = watched(work.command, place)
    faults += _differences(end, place, whole)
    verdict = Verdict(
        number,
        f"{work.name} killed at: {'; '.join(phases) or 'no time'}",
        "faulty" if faults else "the same as undisturbed",
        tuple(dict.fromkeys(faults)),
        end.said,
        # of temporary files, without what is drawn for their names
        tuple(f"kill {re.sub(r'[.][^.]+[.]tmp$', '.*.tmp', phase)}" for phase in phases),
    )
    return verdict, len(phases)


def _differences(end: Ended, place: Path, whole: _Outcome) -> Iterator[str]:
    if end.fault():
        yield end.fault()
    elif end.code != 0:
        yield f"the run does not go on: {gist(end.err)}"
    else:
        found = _all_figures(place)
        for run, expected in whole.figures.items():
            for key, value in expected.items():
                if found.get(run, {}).get(key) != value:
                    yield f"another {key}"
        for name in sorted(names(place) - whole.files):
            yield f"left over: {anonymous(Path(name).name)}"
        for name in sorted(whole.files - names(place)):
            yield f"missing: {anonymous(Path(name).name)}"


def _all_figures(place: Path) -> dict[str, Any]:
    return {
        str(config.parent.relative_to(place)): figures(config.parent)
        for config in place.rglob("config.yaml")
    }


def _fresh(place: Path, work: _Work) -> Path:
    place.mkdir(parents=True)
    if work.settings is PHOTOS:
        make_photos(place / "photos")
    return place
