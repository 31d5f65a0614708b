"""Runs as subprocesses: how the machine is divided, and what becomes of a run that goes wrong."""

import json
import os
import signal
import threading
import time

import pytest
from forked import start
from hand_made import folder_of

from kdzoo.bench.launchers import local
from kdzoo.bench.launchers.base import LaunchError
from kdzoo.bench.launchers.local import Local, shares
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.progress import read_progress
from kdzoo.compose import compose
from kdzoo.training.run import train


def test_cores_are_divided():
    assert [share["OMP_NUM_THREADS"] for share in shares(2, cpus=8, gpus=[])] == ["4", "4"]
    assert [share["OMP_NUM_THREADS"] for share in shares(3, cpus=2, gpus=[])] == ["1"] * 3
    assert "CUDA_VISIBLE_DEVICES" not in shares(1, cpus=1, gpus=[])[0]


def test_gpus_are_dealt_out_and_their_memory_divided():
    found = shares(5, cpus=16, gpus=["2", "GPU-x"])
    assert [share["CUDA_VISIBLE_DEVICES"] for share in found] == ["2", "GPU-x", "2", "GPU-x", "2"]
    fractions = [share["PYTORCH_CUDA_ALLOC_CONF"].split(":")[1] for share in found]
    assert [float(fraction) for fraction in fractions] == pytest.approx(
        [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 3], abs=1e-3
    )
    assert "PYTORCH_CUDA_ALLOC_CONF" not in shares(1, cpus=2, gpus=["0"])[0]


@pytest.fixture
def config(tmp_path):
    config = compose(settings={"out": str(tmp_path / "runs"), "device": "cpu"})
    folder_of(config).path.mkdir(parents=True)
    return config


@pytest.fixture
def interpreter(tmp_path, monkeypatch):
    """Puts a shell script where Local looks for Python."""

    def put(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(local.sys, "executable", str(path))

    return put


def _launcher(config, jobs=1):
    return Local(Local.Config(), jobs, [config] * 4)


def test_a_run_gets_its_config_and_its_share_and_its_output_is_kept(config, interpreter):
    interpreter('echo "$@"; echo "threads $OMP_NUM_THREADS"; echo oh >&2')
    for _ in range(2):
        _launcher(config, jobs=4).carry_out(config, folder_of(config), [], 3)
    folder = folder_of(config)
    once = f"-m kdzoo run {folder.config}\nthreads 1\noh\n"
    assert (folder.path / "log.txt").read_text() == once * 2


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo epoch 1; echo 'error: There is no data set.' >&2; exit 2", "There is no data set."),
        ("echo 'ValueError: no'; exit 1", "ValueError: no."),
        ("exit 1", "It printed nothing."),
        ("kill -9 $$", "It was ended by SIGKILL. Did memory run out?"),
        ("kill -SEGV $$", "It was ended by SIGSEGV."),
    ],
)
def test_a_failure_is_told_in_a_line(config, interpreter, script, says):
    interpreter(script)
    with pytest.raises(LaunchError, match=f"^{says.replace('.', '[.]').replace('?', '[?]')}"):
        _launcher(config).carry_out(config, folder_of(config), [], 0)


def test_stop_ends_what_runs_and_lets_nothing_begin(config, interpreter, tmp_path):
    interpreter(
        f"trap 'echo asked; exit 130' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    )
    launcher = _launcher(config)
    failures = []

    def carry_out():
        try:
            launcher.carry_out(config, folder_of(config), [], 0)
        except LaunchError as error:
            failures.append(str(error))

    thread = threading.Thread(target=carry_out)
    thread.start()
    _until(lambda: (tmp_path / "up").exists())
    launcher.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert failures == ["asked."]
    with pytest.raises(LaunchError, match="stopped"):
        launcher.carry_out(config, folder_of(config), [], 0)


def test_what_does_not_stop_is_killed(config, interpreter, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "GRACE", 0.1)
    interpreter(f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done")
    launcher = _launcher(config)
    outcome = []

    def carry_out():
        with pytest.raises(LaunchError) as error:
            launcher.carry_out(config, folder_of(config), [], 0)
        outcome.append(str(error.value))

    thread = threading.Thread(target=carry_out)
    thread.start()
    _until(lambda: (tmp_path / "up").exists())
    launcher.stop()
    thread.join(30)
    assert "SIGKILL" in outcome[0]


def _until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


SPEC = """
methods: [independent]
backbones: [resnet8]
datasets: [{dataset: digits, dataset.train_subset: 128}]
seeds: [0]
run: {epochs: 60, training.eval_every: 20, training.threads: 1, device: cpu}
jobs: 1
"""


@pytest.mark.slow
def test_a_bench_killed_twice_gives_the_same_results(spec_file, tmp_path, kdzoo):
    path = spec_file(SPEC)
    runs = [run.folder for run in read_matrix(path).runs]

    def epochs():
        return sum(read_progress(run).epochs for run in runs)

    said = tmp_path / "said"
    interrupted = start("bench", str(path), said=said)
    _until(lambda: epochs() >= 1)
    os.kill(interrupted.pid, signal.SIGUSR1)  # a scheduler's warning
    interrupted.join(120)
    assert interrupted.exitcode == 138
    assert "The same command goes on" in said.read_text()
    assert "The same command goes on" in runs[0].log.read_text()
    reached = epochs()
    assert reached < 60  # it was stopped on the way

    killed = start("bench", str(path), said=said)
    _until(lambda: epochs() > reached)
    killed.kill()  # its runs are on their own now
    killed.join(120)

    last = kdzoo("bench", str(path))
    assert last.code == 0, last.err
    assert "1 run; none failed." in last.out

    for run in read_matrix(path).runs:
        straight = train(run.config.model_copy(update={"out": str(tmp_path / "straight")}))
        for name in ("student.safetensors", "student.json"):
            ours, theirs = run.folder.path / name, straight.path / name
            assert ours.read_bytes() == theirs.read_bytes()
        assert run.folder.read_result()["last"] == straight.read_result()["last"]


@pytest.mark.slow
def test_a_run_that_diverges_is_reported_with_its_log(spec_file, kdzoo):
    path = spec_file(SPEC)
    done = kdzoo("bench", str(path), "run.lr=1e20")
    assert done.code == 1
    (run,) = read_matrix(path, ["run.lr=1e20"]).runs
    log = run.folder.path / "log.txt"
    assert "no finite number" in done.err
    assert str(log) in done.err
    assert "no finite number" in log.read_text()
    assert "left out: 1 failed" in done.out
    assert json.loads((run.folder.path / "failure.json").read_text())["message"]
