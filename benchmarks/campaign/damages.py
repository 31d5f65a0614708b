"""Every file that a command reads, damaged in every way, and the command judged.

A command may be *right* (exit code 0 and the very figures of the undamaged files), may have *said*
so (exit code 0, the damage named, and the figures right or left out), or may have *refused* (exit
code 1 or 2 and one message that names the file). Anything else is a fault: a traceback, a hang,
another figure, a message that does not say where.
"""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmarks.campaign.command import Ended, Worker
from benchmarks.campaign.damage import Damage, damages_of
from benchmarks.campaign.run_files import digest, figures
from benchmarks.campaign.stage import PHOTOS, RUN, UNFINISHED, Stage
from benchmarks.campaign.verdict import Verdict, gist

TIMEOUT = 60
"""Seconds after which a command counts as hanging."""
RUN_FILES = (
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "checkpoint.pt",
    "student.safetensors",
    "student.json",
    "identity.json",
    "result.json",
)
Files = dict[Path, Path | None]
"""Files, and the twin that each may be swapped with."""
STUDENT = ("student.safetensors", "student.json")


@dataclass(frozen=True)
class Figures:
    """What a command came to.

    Attributes:
        main: what must be that of the undamaged files, whatever is said.
        rest: what may differ where the damage is said.
    """

    main: Any
    rest: Any = None


@dataclass(frozen=True)
class Target:
    """A command, and the files that it reads.

    Attributes:
        name: of the command.
        command: its arguments, to be run in the stage.
        files: what it reads, with the twin that each may be swapped with.
        figures: what it came to, where it ended well.
        without: a folder without which the command is right too, if it says so.
    """

    name: str
    command: tuple[str, ...]
    files: Files
    figures: Callable[[Path, Ended], Figures] | None
    without: Path | None = None


def cases(folder: Path, seed: int, count: int, only: int | None = None) -> Iterator[Verdict]:
    """Verdicts on ``count`` damages, or on the one of that number.

    Every file is damaged in every way before one is damaged in the same way again.
    """
    with Worker() as worker:
        stage = Stage(folder / "stage", worker)
        campaign = _Campaign(stage, worker, seed)
        for number in range(count) if only is None else [only]:
            place = folder / f"case-{number}"
            yield campaign.case(number, place)
            if only is None:
                shutil.rmtree(place, ignore_errors=True)


class _Campaign:
    def __init__(self, stage: Stage, worker: Worker, seed: int) -> None:
        self.stage = stage
        self.worker = worker
        self.seed = seed
        self.expected: dict[str, list[Figures]] = {}
        self.usual: dict[str, set[str]] = {}

    @cached_property
    def plan(self) -> list[tuple[Target, Path, Damage]]:
        plan = [
            (target, file, damage)
            for target in targets(self.stage)
            for file in target.files
            for damage in damages_of(self.stage.folder / file)
        ]
        random.Random(f"damages/{self.seed}").shuffle(plan)
        return plan

    def case(self, number: int, place: Path) -> Verdict:
        target, file, damage = self.plan[number % len(self.plan)]
        twin = target.files[file]
        self.stage.copy(place)
        rng = random.Random(f"damages/{self.seed}/{number}")
        damage(place / file, rng, None if twin is None else place / twin)
        end = self.worker.kdzoo(target.command, place, timeout=TIMEOUT)
        outcome, fault = self._judge(target, file, place, end)
        if (place / "EXECUTED").exists():
            fault = "code that a file names was executed"
        where = f"{target.name}, {_kind(file)}"
        return Verdict(
            number,
            f"{target.name}: {_kind(file)} {damage.__name__}",
            "faulty" if fault else outcome,
            (f"{where}: {fault}",) if fault else (),
            end.said,
        )

    def _judge(self, target: Target, file: Path, place: Path, end: Ended) -> tuple[str, str]:
        """The outcome, and what is wrong if something is."""
        if end.fault():
            return "", gist(end.fault())
        if target.figures is None:
            return "refused" if end.code else "accepted", ""
        expected = self._expected(target)
        unusual = [line for line in end.said.splitlines() if line not in self.usual[target.name]]
        said = _names("".join(unusual), file)
        if end.code:
            return "refused", "" if said else "the message names no file"
        found = target.figures(place, end)
        if file.name == "environment.json":  # a description, which nothing can be checked against
            expected, found = [Figures(one.main) for one in expected], Figures(found.main)
        if found == expected[0]:
            return "right", ""
        if any(found.main == one.main for one in expected):
            return "said", "" if said else "damage is not said"
        return "", "said, but another figure" if said else "another figure, and not a word of it"

    def _expected(self, target: Target) -> list[Figures]:
        """The figures of the undamaged files; second, those without the damaged folder."""
        if target.name not in self.expected:
            assert target.figures is not None
            found: list[Figures] = []
            for gone in dict.fromkeys((None, target.without)):
                place = self.stage.copy(self.stage.folder.with_name(f"expected-{len(found)}"))
                if gone is not None:
                    shutil.rmtree(place / gone)
                end = self.worker.kdzoo(target.command, place, timeout=300)
                if end.code != 0:
                    raise RuntimeError(f"kdzoo {' '.join(target.command)} fails undamaged: {end}")
                found.append(target.figures(place, end))
                self.usual.setdefault(target.name, set(end.said.splitlines()))
                shutil.rmtree(place)
            self.expected[target.name] = found
        return self.expected[target.name]


def targets(stage: Stage) -> list[Target]:
    """The commands that read files."""
    done, other, unfinished = stage.run(0), stage.run(1), stage.unfinished(0)
    run_files: Files = {done / name: other / name for name in RUN_FILES}
    student: Files = {done / name: other / name for name in STUDENT}
    lock: Files = {done / ".lock": None}
    failure: Files = {stage.failed / "failure.json": None, stage.failed / "config.yaml": None}
    kd = ("run", "recipe.yaml", "method=kd", "out=kd")
    teacher: Files = {Path("teacher") / name: Path("other-teacher") / name for name in STUDENT}
    half: Files = {unfinished / name: stage.unfinished(1) / name for name in RUN_FILES[:4]}
    entry = stage.cache_entry
    pictures = [Path("photos") / split / "dark" / name for split, name in _PICTURES]

    def of_run(run: Path) -> Callable[[Path, Ended], Figures]:
        return lambda place, end: Figures(figures(place / run))

    return [
        Target("eval", ("eval", str(done)), run_files, _accuracy),
        Target("export", ("export", str(done), "--to", "exported"), student, _exported),
        Target("reuse", ("run", *RUN, "out=runs"), run_files | lock, _student_of(done)),
        Target(
            "resume",
            ("run", *UNFINISHED, "out=unfinished"),
            half | {unfinished / ".lock": None},
            of_run(unfinished),
        ),
        Target("report folder", ("report", "runs"), run_files | failure, _report, done),
        Target("report spec", ("report", "spec.yaml"), run_files, _report, done),
        Target("bench", ("bench", "spec.yaml"), run_files, _runs(done, other)),
        Target("kd", (*kd, "method.teacher=teacher"), teacher, _trained("kd")),
        Target(
            "cache",
            ("run", *PHOTOS, "dataset.cache=cache"),
            {
                entry / "images.npy": None,
                entry / "unreadable.json": None,
                entry / "checksum": None,
                entry.with_name(f"{entry.name}.lock"): None,
            },
            _trained("photo-runs"),
        ),
        Target(
            "pictures", ("run", *PHOTOS, "dataset.cache=c"), dict.fromkeys(pictures), _looked_at
        ),
        # What a person writes says what is wanted, so that no figure is right or wrong.
        Target("recipe", ("config", "recipe.yaml"), {Path("recipe.yaml"): Path("spec.yaml")}, None),
        Target("spec", ("report", "spec.yaml"), {Path("spec.yaml"): Path("recipe.yaml")}, None),
        Target(
            "config as recipe",
            ("config", str(done / "config.yaml")),
            {done / "config.yaml": None},
            None,
        ),
    ]


_PICTURES = [("train", "00.png"), ("train", "01.jpg"), ("test", "00.png"), ("test", "01.jpg")]


def _accuracy(place: Path, end: Ended) -> Figures:
    return Figures(re.findall(r"top-1 +[\d.]+ %.*nll +[\d.]+", end.out))


def _exported(place: Path, end: Ended) -> Figures:
    return Figures(
        (_tensors(place / "exported" / STUDENT[0]), digest(place / "exported" / STUDENT[1]))
    )


def _tensors(path: Path) -> Any:
    try:
        return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        return type(error).__name__


def _student_of(run: Path) -> Callable[[Path, Ended], Figures]:
    """The student that a finished run claims to have, and the figures it prints."""

    def read(place: Path, end: Ended) -> Figures:
        found = figures(place / run)
        table = re.findall(r"│ (.*?) +│ +([\d.]+) │ +([\d.]+) │ +([\d.]+) │", end.out)
        return Figures((found["student"], found["description"], table))

    return read


def _runs(*runs: Path) -> Callable[[Path, Ended], Figures]:
    return lambda place, end: Figures([figures(place / run) for run in runs])


def _trained(out: str) -> Callable[[Path, Ended], Figures]:
    def read(place: Path, end: Ended) -> Figures:
        return Figures(
            [figures(path.parent) for path in sorted((place / out).rglob("config.yaml"))]
        )

    return read


def _report(place: Path, end: Ended) -> Figures:
    """The figures of the table; besides, all that was written."""
    folder = next((place / "runs").glob("report*"))
    table = (folder / "report.csv").read_text(encoding="utf-8")
    return Figures(table, {path.name: path.read_text("utf-8") for path in folder.iterdir()})


def _looked_at(place: Path, end: Ended) -> Figures:
    """Whether every picture can be looked at, or is named: pixels have no checksum."""
    unseen = []
    for path in sorted(place.glob("photos/*/*/*")):
        try:
            if path.is_file():  # and no pipe, which would be waited for
                Image.open(path).convert("RGB").load()
                continue
        except (OSError, ValueError, SyntaxError):
            pass
        unseen.append(path)
    return Figures([path.name for path in unseen if not _names(end.said, path)])


def _names(text: str, file: Path) -> bool:
    """Whether a text names a file, or its folder; lines may have been broken anywhere."""
    flat = re.sub(r"\s", "", text)
    own_folder = [] if _is_picture(file) else [file.parent.name]
    return any(name in flat for name in (file.name, *own_folder) if name)


def _is_picture(file: Path) -> bool:
    return "photos" in file.parts


def _kind(file: Path) -> str:
    return "a picture" if _is_picture(file) else re.sub(r"[0-9a-f]{32}", "KEY", file.name)
