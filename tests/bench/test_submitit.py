"""Runs as jobs, through submitit's local executor."""

import io
import os
import subprocess
import sys
import threading

import pytest
from hand_made import finish
from rich.console import Console

from kdzoo.bench.board import State
from kdzoo.bench.launchers import submitit as launcher
from kdzoo.bench.launchers.base import LaunchError
from kdzoo.bench.launchers.submitit import Submitit
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.runner import run_bench

SPEC = """
methods: [independent]
backbones: [resnet8]
datasets: [{dataset: digits, dataset.train_subset: 128}]
seeds: [0]
run: {epochs: 3, batch_size: 32, training.eval_every: 3, device: cpu, training.threads: 1}
launcher: {name: submitit, cluster: local, time: 5}
"""


WARNED = '''
"""Independent peers; the first time, their job is warned in the middle of the second epoch."""

import os
import signal
from pathlib import Path
from queue import SimpleQueue

from submitit.local.local import LocalJobEnvironment

from kdzoo.methods.independent import Independent


class Warned(Independent):
    steps = 0

    def after_step(self):
        self.steps += 1
        marker = Path(__file__).with_name("warned")
        if self.steps == 6 and not marker.exists():
            marker.touch()
            arrived, save = SimpleQueue(), signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *caught: (arrived.put(caught), save(*caught)))
            os.kill(os.getppid(), LocalJobEnvironment._usr_sig())  # the parent is the job
            arrived.get(timeout=120)  # the job hands on that it is to be requeued
'''


@pytest.fixture
def kdzoo(tmp_path):
    """Runs ``kdzoo`` in a process that finds the method ``warned`` in an installed package."""
    site = tmp_path / "site"
    metadata = site / "warned-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "warned_method.py").write_text(WARNED)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: warned\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kdzoo_methods]\nwarned = warned_method:Warned\n")
    path = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def run(*arguments):
        command = [sys.executable, "-m", "kdzoo", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_its_run_goes_on(spec_file, tmp_path, kdzoo):
    bench = tmp_path / "bench"
    kdzoo("bench", spec_file(SPEC), "methods=[warned]", f"out={bench}")
    assert (tmp_path / "site" / "warned").exists()
    (preempted,) = (found.parent for found in bench.rglob("result.json"))
    log = (preempted / "log.txt").read_text()
    assert "Going on in epoch 2, after step 6" in log
    said = kdzoo("run", preempted / "config.yaml", f"out={tmp_path / 'straight'}")
    assert "Going on" not in said
    (straight,) = (found.parent for found in (tmp_path / "straight").rglob("result.json"))
    for name in ("student.safetensors", "student.json"):
        assert (preempted / name).read_bytes() == (straight / name).read_bytes()


@pytest.fixture
def run(spec_file, monkeypatch):
    monkeypatch.setattr(launcher, "POLL", 0.05)
    (run,) = read_matrix(spec_file(SPEC)).runs
    run.folder.path.mkdir(parents=True)
    return run


@pytest.mark.slow
def test_a_job_that_fails_says_why(run):
    run.folder.config.write_text("method: no_such\n")
    found = Submitit(Submitit.Config(cluster="local"), 1, [run.config])
    with pytest.raises(LaunchError, match="There is no method 'no_such'"):
        found.carry_out(run.config, run.folder, [], 0)


@pytest.mark.slow
def test_stop_cancels_jobs_and_submits_no_more(run):
    from kdzoo.compose import to_yaml

    run.folder.config.write_text(to_yaml(run.config))
    found = Submitit(Submitit.Config(cluster="local"), 1, [run.config])
    failures = []

    def carry_out():
        try:
            found.carry_out(run.config, run.folder, [], 0)
        except LaunchError as error:
            failures.append(str(error))

    thread = threading.Thread(target=carry_out)
    thread.start()
    while not found._running:
        thread.join(0.01)
    found.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert len(failures) == 1
    assert not run.folder.is_finished
    with pytest.raises(LaunchError, match="stopped"):
        found.carry_out(run.config, run.folder, [], 0)


def test_what_is_there_is_not_submitted_again(spec_file):
    matrix = read_matrix(spec_file(SPEC))
    finish(matrix.runs[0].config, 90.0)
    assert run_bench(matrix, Console(file=io.StringIO())).count(State.FINISHED) == 1
