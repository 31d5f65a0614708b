"""Undamaged files of every kind that kdzoo reads, which a case copies and damages."""

import json
import shutil
from functools import cached_property
from pathlib import Path

import yaml

from benchmarks.campaign.command import Worker, preload
from benchmarks.campaign.damage import CANARY
from benchmarks.campaign.deaths import die_before
from benchmarks.campaign.photos import make_photos

SETTINGS = {
    "backbone": "resnet8",
    "dataset": {"name": "digits", "train_subset": 64},
    "epochs": 2,
    "batch_size": 32,
    "lr": 0.02,
    "device": "cpu",
    "precision": "fp32",
}
RUN = ("recipe.yaml", "method=independent")
UNFINISHED = ("recipe.yaml", "method=one")
PHOTOS = (
    "backbone=resnet8",
    "method=independent",
    "dataset=imagefolder",
    "dataset.root=photos",
    "dataset.workers=0",
    "epochs=1",
    "batch_size=16",
    "device=cpu",
    "precision=fp32",
    "out=photo-runs",
)
SPEC = """\
title: Two seeds
methods: [independent]
backbones: [resnet8]
datasets: [{dataset: digits, dataset.train_subset: 64}]
seeds: [0, 1]
run: {epochs: 2, batch_size: 32, lr: 0.02, device: cpu, precision: fp32}
out: runs
launcher: here
"""
_CANARY = 'open("EXECUTED", "w").close()\ndef build(*a, **k): raise SystemExit(99)\n'


class Stage:
    """Runs, a bench, a teacher, a recipe, pictures and their cache, as kdzoo leaves them.

    ``runs``: the two finished runs of ``spec.yaml``, seeds 0 and 1, and one that failed;
    ``unfinished``: two that were killed after their first epoch; ``teacher`` and
    ``other-teacher``: their students; ``photos`` and ``cache``.

    Args:
        folder: where to make it.
        worker: who carries out the commands.
    """

    def __init__(self, folder: Path, worker: Worker) -> None:
        preload()
        self.folder = folder
        self.worker = worker
        folder.mkdir(parents=True)
        self._write_inputs()
        for seed in (0, 1):
            self._kdzoo("run", *RUN, f"seed={seed}", "out=runs")
            die_before(
                ["run", *UNFINISHED, f"seed={seed}", "out=unfinished"],
                folder,
                "rename checkpoint-previous.pt",  # by the second one
            )
        self._kdzoo("export", str(self.run(0)), "--to", "teacher")
        self._kdzoo("export", str(self.run(1)), "--to", "other-teacher")
        self._kdzoo("run", *PHOTOS, "dataset.cache=cache")
        shutil.rmtree(folder / "photo-runs")
        self._fail()

    def run(self, seed: int) -> Path:
        """The finished run of that seed, as a path from the stage."""
        return self._only("runs", seed)

    def unfinished(self, seed: int) -> Path:
        return self._only("unfinished", seed)

    @cached_property
    def failed(self) -> Path:
        return self._only("runs", 2)

    @cached_property
    def cache_entry(self) -> Path:
        """The cached training pictures."""
        entries = (path.parent for path in (self.folder / "cache").glob("*/images.npy"))
        largest = max(entries, key=lambda path: (path / "images.npy").stat().st_size)
        return largest.relative_to(self.folder)

    def copy(self, place: Path) -> Path:
        """The whole of it, elsewhere."""
        shutil.copytree(self.folder, place, symlinks=True)
        return place

    def _only(self, part: str, seed: int) -> Path:
        (config,) = (self.folder / part).rglob(f"seed{seed}-*/config.yaml")
        return config.parent.relative_to(self.folder)

    def _kdzoo(self, *arguments: str) -> None:
        end = self.worker.kdzoo(arguments, self.folder, timeout=300)
        if end.code != 0:
            raise RuntimeError(f"kdzoo {' '.join(arguments)} fails undamaged: {end}")

    def _write_inputs(self) -> None:
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
        (self.folder / "spec.yaml").write_text(SPEC)
        (self.folder / f"{CANARY}.py").write_text(_CANARY)
        make_photos(self.folder / "photos")

    def _fail(self) -> None:
        """A run that a bench tried and gave up, in the words of a bench."""
        done = self.folder / self.run(0)
        failed = done.with_name(done.name.replace("seed0", "seed2"))
        failed.mkdir()
        config = (done / "config.yaml").read_text().replace("seed: 0", "seed: 2")
        (failed / "config.yaml").write_text(config)
        (failed / "failure.json").write_text(json.dumps({"message": "Out of luck."}))
