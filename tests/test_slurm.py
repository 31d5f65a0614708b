"""The script for SLURM, with a stand-in for the scheduler: it warns, and it requeues."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdzoo.bench.progress import read_progress
from kdzoo.compose import compose
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "slurm" / "run.sbatch"
SETTINGS = {
    "method": "independent",
    "backbone": "resnet8",
    "epochs": 30,
    "training.eval_every": 30,
    "batch_size": 32,
    "dataset.train_subset": 128,
    "device": "cpu",
    "precision": "fp32",
    "training.threads": 1,
}


class Scheduler:
    """Runs the script as SLURM does: commands on PATH, a warning, another start when requeued."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.requeued = folder / "requeued"
        self._command("srun", 'exec "$@"')
        self._command(
            "scontrol",
            f'case "$1" in requeue) echo "$2" >> {self.requeued};; *) echo localhost;; esac',
        )
        self._command("python", f'exec {shlex.quote(sys.executable)} "$@"')
        paths = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        self.environment = {
            **os.environ,
            "PATH": paths,
            "PYTHONPATH": str(ROOT),
            "SLURM_JOB_ID": "71",
            "SLURM_NNODES": "1",
        }

    def _command(self, name, script):
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def start(self, *arguments):
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def requeues(self):
        return self.requeued.read_text().split() if self.requeued.exists() else []


@pytest.fixture
def scheduler(tmp_path):
    return Scheduler(tmp_path)


@pytest.mark.slow
def test_a_run_that_is_warned_is_requeued_and_ends_as_if_nothing_had_been(scheduler, tmp_path):
    straight = train(compose(settings={**SETTINGS, "out": str(tmp_path / "straight")}))
    out = tmp_path / "runs"
    arguments = [f"{key}={value}" for key, value in {**SETTINGS, "out": out}.items()]
    folder = RunFolder(out / straight.path.relative_to(tmp_path / "straight"))
    job = scheduler.start(*arguments)
    _until(lambda: read_progress(folder).epochs >= 1)
    job.send_signal(signal.SIGUSR1)
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0, said
    assert scheduler.requeues() == ["71"]
    assert not folder.is_finished
    job = scheduler.start(*arguments)
    said, _ = job.communicate(timeout=240)
    assert job.returncode == 0, said
    assert "Going on after epoch" in said
    assert scheduler.requeues() == ["71"]
    for name in ("student.safetensors", "student.json"):
        assert (folder.path / name).read_bytes() == (straight.path / name).read_bytes()


@pytest.mark.slow
def test_a_run_that_fails_is_not_requeued(scheduler, tmp_path):
    job = scheduler.start("method=no_such", f"out={tmp_path}")
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 2
    assert "There is no method" in said
    assert scheduler.requeues() == []


def _until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)
