"""Runs as jobs, through submitit's local executor."""

import io
import threading

import pytest
from hand_made import finish
from rich.console import Console

from kdzoo.bench.board import State
from kdzoo.bench.launchers import submitit as launcher
from kdzoo.bench.launchers.base import LaunchError
from kdzoo.bench.launchers.submitit import Submitit
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.progress import read_progress
from kdzoo.bench.runner import run_bench
from kdzoo.training.run import train

SPEC = """
methods: [independent]
backbones: [resnet8]
datasets: [{dataset: digits, dataset.train_subset: 128}]
seeds: [0]
run: {epochs: 40, batch_size: 32, training.eval_every: 40, device: cpu, training.threads: 1}
launcher: {name: submitit, cluster: local, time: 5}
"""


@pytest.fixture
def preempted(monkeypatch):
    """Jobs are preempted once, as soon as their run has finished an epoch; counts how often."""
    monkeypatch.setattr(launcher, "POLL", 0.02)
    warned = []

    def watch(job, folder):
        done = job.done

        def done_or_warned():
            if not warned and read_progress(folder()).epochs:
                warned.append(job.job_id)
                _warn(job)
            return done()

        job.done = done_or_warned

    return warned, watch


def _warn(job):
    """SLURM's warning, to the process that carries the job out; the controller is its parent."""
    import psutil
    from submitit.local.local import LocalJobEnvironment

    for child in psutil.Process(job._process.pid).children():
        child.send_signal(LocalJobEnvironment._usr_sig())


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_its_run_goes_on(spec_file, tmp_path, preempted):
    warned, watch = preempted
    matrix = read_matrix(spec_file(SPEC))
    (run,) = matrix.runs
    submit = launcher._executor

    def executor(*arguments):
        found = submit(*arguments)
        plain = found.submit

        def submit_watched(job):
            submitted = plain(job)
            watch(submitted, lambda: run.folder)
            return submitted

        found.submit = submit_watched
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "_executor", executor)
        board = run_bench(matrix, Console(file=io.StringIO()))
    log = run.folder.log.read_text()
    assert board.count(State.FINISHED) == 1, log
    assert len(warned) == 1
    assert "Going on after epoch" in log
    straight = train(run.config.model_copy(update={"out": str(tmp_path / "straight")}))
    for name in ("student.safetensors", "student.json"):
        assert (run.folder.path / name).read_bytes() == (straight.path / name).read_bytes()


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
