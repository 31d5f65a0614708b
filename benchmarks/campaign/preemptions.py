"""Runs that are preempted five times, on one process or two, and gone on with to their end.

All processes get a signal at a random moment, as from a scheduler that wants its machine back, or
one of them alone does. The command is then given again, as a scheduler that requeues does.
"""

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from benchmarks.campaign.command import Ended, forks, kdzoo, preload
from benchmarks.campaign.deaths import PATIENCE
from benchmarks.campaign.photos import make_photos
from benchmarks.campaign.run_files import figures, halves
from benchmarks.campaign.verdict import Verdict, gist

TIMES = 5
"""How often a run is preempted."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
ALONE = 0.2
"""How often the signal goes to one process of two."""
SMALL = ("backbone=resnet8", "batch_size=16", "lr=0.02", "device=cpu", "precision=fp32", "epochs=6")
DIGITS = (*SMALL, "dataset.train_subset=320")  # 20 steps an epoch
DROPOUT = ("backbone=timm/resnet10t", "backbone.kwargs.drop_rate=0.2")
PHOTOS = (
    "dataset=imagefolder",
    "dataset.root=photos",
    "dataset.pipeline=loader",
    "dataset.workers=1",
    "dataset.augment.resized_crop=0.5",
)
RUNS = (
    ("method=mbde", *DIGITS),
    ("method=ps_kd", *DIGITS),  # has a memory of all samples
    ("method=dkel", *DIGITS),  # averages its peers
    ("method=independent", *DIGITS, *DROPOUT),
    ("method=pcl", *DIGITS),
    ("method=independent", *SMALL, *PHOTOS),
)
SETTINGS = ("training.checkpoint_every=1s", "out=runs")


def cases(folder: Path, seed: int, count: int, only: int | None = None) -> Iterator[Verdict]:
    """Verdicts on runs that were preempted ``count`` times in all, or the verdict on one of them.

    Args:
        folder: where the runs go.
        seed: what they are drawn from.
        count: of preemptions.
        only: the number of a run, to have it alone.
    """
    preload()
    works = [
        _Work(folder / f"whole-{number}-{world_size}", settings, world_size)
        for number, settings in enumerate(RUNS)
        for world_size in (2, 1)
    ]
    number, landed = only or 0, 0
    while landed < count:
        verdict, times = _case(folder, works[number % len(works)], seed, number)
        yield verdict
        if only is not None:
            return
        landed += times
        number += 1


@dataclass
class _Work:
    """A run on so many processes, and what it comes to when nobody disturbs it."""

    folder: Path
    settings: tuple[str, ...]
    world_size: int
    known: tuple[dict[str, Any], float] | None = field(default=None, init=False)

    @property
    def undisturbed(self) -> tuple[dict[str, Any], float]:
        """The figures, and how many seconds it took."""
        if self.known is None:
            _prepare(self.folder)
            started = time.perf_counter()
            ends = self.carry_out(self.folder)
            if any(end.code != 0 for end in ends):
                raise RuntimeError(f"kdzoo run {self} fails by itself: {ends[0].said}")
            self.known = _figures(self.folder), time.perf_counter() - started
        return self.known

    def carry_out(
        self,
        place: Path,
        moment: float = PATIENCE,
        number: int = 0,
        to: Sequence[int] = (),
    ) -> list[Ended]:
        """Start all processes, send some a signal at a moment, and wait for their end."""
        with tempfile.TemporaryDirectory() as meeting:
            pairs = [forks.Pipe(duplex=False) for _ in range(self.world_size)]
            processes = [
                forks.Process(target=self._process, args=(rank, place, Path(meeting), pair[1]))
                for rank, pair in enumerate(pairs)
            ]
            try:
                for process in processes:
                    process.start()
                for _, theirs in pairs:
                    theirs.close()
                wait([process.sentinel for process in processes], moment)
                for rank in to:
                    if processes[rank].is_alive():
                        os.kill(processes[rank].pid, number)
                return [
                    _end(process, ours) for process, (ours, _) in zip(processes, pairs, strict=True)
                ]
            finally:
                for process in processes:
                    process.kill()
                    process.join()

    def _process(self, rank: int, place: Path, meeting: Path, connection: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):  # the campaign has its own
            signal.signal(number, signal.SIG_DFL)
        if self.world_size > 1:
            from torch import distributed

            ranks = {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
            sizes = {name: str(self.world_size) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
            os.environ.update(ranks | sizes | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"})
            distributed.init_process_group(
                "gloo", f"file://{meeting / 'meeting'}", rank=rank, world_size=self.world_size
            )
        connection.send(kdzoo(["run", *self.settings, *SETTINGS], place))
        connection.close()
        os._exit(0)  # what is left of a group cannot be taken down in good order

    def __str__(self) -> str:
        own = " ".join(setting for setting in self.settings if setting not in DIGITS)
        return f"{own} on {self.world_size}"


def _end(process: Any, connection: Any) -> Ended:
    """How a process ended: by itself, by the signal, or not at all."""
    try:
        if connection.poll(PATIENCE):
            return connection.recv()
        return Ended(None, crash=f"no end after {PATIENCE} s")
    except EOFError:
        process.join()
        return Ended(process.exitcode)


def _case(folder: Path, work: _Work, seed: int, number: int) -> tuple[Verdict, int]:
    whole, seconds = work.undisturbed
    rng = random.Random(f"preemptions/{seed}/{number}")
    place = folder / f"case-{number}"
    _prepare(place)
    faults: list[str] = []
    ways: list[str] = []
    ends: list[Ended] = []
    while len(ways) < TIMES:
        sent = rng.choice(SIGNALS)
        everyone = range(work.world_size)
        to = [rng.choice(everyone)] if rng.random() < ALONE else list(everyone)
        ends = work.carry_out(place, rng.random() * seconds / 2, sent, to)
        if all(end.code == 0 for end in ends):
            break
        ways.append(_way(ends))
        faults += _faults(ends, sent, len(to) == work.world_size)
        faults += [f"half a {name} under its own name" for name in halves(place)]
    if any(end.code != 0 for end in ends):
        ends = work.carry_out(place)
    faults += [f"the run does not go on: {gist(end.said)}" for end in ends if end.code != 0]
    faults += _differences(_figures(place), whole)
    verdict = Verdict(
        number,
        f"{work}, preempted {len(ways)} times: {'; '.join(ways)}",
        "faulty" if faults else f"the same as undisturbed, on {work.world_size}",
        tuple(dict.fromkeys(faults)),
        "\n".join(end.said for end in ends),
        tuple(ways),
    )
    return verdict, len(ways)


def _way(ends: Sequence[Ended]) -> str:
    """What became of a run that got a signal."""
    said = " ".join(end.err for end in ends)
    if "goes on after step" in said:
        return "saved after its step"
    if "goes on from its last checkpoint" in said:
        return "ended at once, with its last checkpoint"
    return "ended before its training began, or with another process"


def _faults(ends: Sequence[Ended], sent: int, all_got_it: bool) -> Iterator[str]:
    expected = {128 + sent, -sent}  # the latter before the training begins
    if sent == signal.SIGINT:
        expected |= {130}
    for end in ends:
        if end.code is None:
            yield end.crash
        elif end.code not in expected and (all_got_it or end.code != 1):
            yield f"exit code {end.code} after {signal.Signals(sent).name}: {gist(end.err)}"
        elif end.code > 0 and (fault := replace(end, code=0).fault()):
            # but for its code, which is that of the signal; before its training it may say nothing
            yield fault


def _differences(found: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    for run, expected in whole.items():
        for key, value in expected.items():
            if found.get(run, {}).get(key) != value:
                yield f"another {key}"


def _figures(place: Path) -> dict[str, Any]:
    return {
        str(config.parent.relative_to(place)): figures(config.parent)
        for config in place.rglob("config.yaml")
    }


def _prepare(place: Path) -> None:
    place.mkdir(parents=True)
    make_photos(place / "photos", train=64)
