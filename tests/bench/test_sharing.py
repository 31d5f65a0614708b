"""What jobs=auto decides: from cores and memory, and from the pace of runs that share a GPU."""

import subprocess
import sys

import pytest
from hand_made import finish

from kdzoo.bench.launchers import trial
from kdzoo.bench.launchers.machine import cores, free_memory
from kdzoo.bench.launchers.sharing import (
    GIB,
    MEMORY_A_RUN,
    memory_a_run,
    most_on_gpu,
    on_cores,
    on_gpu,
)
from kdzoo.bench.launchers.trial import Trial
from kdzoo.compose import compose
from kdzoo.training.run_folder import RunFolder


@pytest.mark.parametrize(
    ("cores", "threads", "free", "a_run", "jobs"),
    [(8, 1, 64, 1, 8), (8, 4, 64, 1, 2), (8, 1, 5, 2, 2), (1, 1, 0, 2, 1), (2, 8, 64, 1, 1)],
)
def test_a_run_a_core_as_far_as_memory_goes(cores, threads, free, a_run, jobs):
    assert on_cores(cores, threads, free * GIB, a_run * GIB, True).jobs == jobs


def test_the_line_names_what_decided():
    assert (
        on_cores(8, 1, 64 * GIB, GIB, True).why
        == "8 cores, 1 thread a run; 1.0 GiB a run, measured"
    )
    assert on_cores(8, 1, 3 * GIB, GIB, False).why.startswith("3.0 GiB of memory is free")


@pytest.mark.parametrize(
    ("seconds", "most", "next_"),
    [
        ({}, 4, 1),
        ({1: 2.0}, 4, 2),
        ({1: 2.0}, 1, 1),
        ({1: 2.0, 2: 3.9}, 4, 1),  # 1.03 times the throughput
        ({1: 2.0, 2: 2.1}, 4, 3),
        ({1: 2.0, 2: 2.1}, 2, 2),
        ({1: 2.0, 2: 2.1, 3: 3.0}, 4, 2),
        ({1: 2.0, 2: 2.1, 3: 2.2, 4: 2.4}, 4, 4),
    ],
)
def test_one_more_run_shares_a_gpu_while_that_is_faster_in_all(seconds, most, next_):
    assert on_gpu(seconds, most) == next_


def test_runs_on_a_gpu_leave_half_of_its_memory():
    assert most_on_gpu(80 * GIB, 3 * GIB, cores=16) == 10
    assert most_on_gpu(80 * GIB, 3 * GIB, cores=4) == 4
    assert most_on_gpu(8 * GIB, 6 * GIB, cores=4) == 1


def test_earlier_runs_tell_what_one_takes(tmp_path):
    one, other = (compose(settings={"method": m, "out": str(tmp_path)}) for m in ("one", "dml"))
    assert memory_a_run([one]) == (MEMORY_A_RUN, False)
    measured = finish(one, 90.0).read_result()["peak_memory"]
    again = one.model_copy(update={"seed": 7})
    assert memory_a_run([one, again]) == (measured, True)
    assert memory_a_run([one, other]) == (max(MEMORY_A_RUN, measured), False)


def test_control_groups_limit_cores_and_memory(tmp_path):
    ours = tmp_path / "cgroup"
    ours.write_text("0::/slurm/job\n")
    inner = tmp_path / "root" / "slurm" / "job"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("100000 100000\n")
    (inner / "memory.max").write_text("5000\n")
    (inner / "memory.current").write_text("2000\n")
    assert cores(tmp_path / "root", ours) == 1
    assert free_memory(tmp_path / "root", ours) == 3000
    assert cores(tmp_path / "root", tmp_path / "none") >= 1


class Watched:
    """A first run that trains, a second that joins it, and what the trial makes of them."""

    def __init__(self, tmp_path):
        self.trial = Trial(gpus=1, cores=8, memory=lambda: 80 * GIB)
        self.first, self.second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
        self.seconds = []

    def train(self, *seconds):
        self.seconds += seconds
        self.write(self.first, self.seconds)
        self.trial.look(self.first)
        return self.trial.choice

    def write(self, folder, seconds):
        folder.write_metrics(
            [{"epoch": i + 1, "seconds": s, "peak_memory": GIB} for i, s in enumerate(seconds)]
        )

    def join(self, slot):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        self.trial.watch(ended, self.second, slot)
        self.write(self.second, [9.0])


def test_the_first_run_measures_alone_and_beside_another(tmp_path):
    watched = Watched(tmp_path)
    assert watched.train(9.0, 2.0, 2.0).jobs == 1
    assert watched.train(2.0).jobs == 2
    assert watched.train(2.0, 2.0, 2.0).why == "trying out 2 on one GPU"  # nobody has joined
    watched.join(slot=1)
    assert watched.train(2.2).jobs == 2
    assert watched.train(9.0, 3.8, 3.8, 3.8).jobs == 1
    assert watched.trial.choice.why.endswith("1: 1.00, 2: 1.05")
    assert watched.train(1.0, 1.0, 1.0, 1.0).jobs == 1  # it is decided


def test_two_runs_that_do_not_slow_each_other_share_every_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "most_on_gpu", lambda *_: 2)
    watched = Watched(tmp_path)
    watched.train(9.0, 2.0, 2.0, 2.0)
    watched.join(slot=1)
    watched.train(2.0)
    choice = watched.train(2.1, 2.1, 2.1, 2.1)
    assert choice.jobs == 2
    assert "2: 1.90, and memory and cores allow 2" in choice.why
