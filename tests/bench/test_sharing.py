"""What jobs=auto decides: from cores and memory, and from the pace of runs that share a GPU."""

import subprocess
import sys
import threading

import pytest
import torch
from hand_made import finish

from kdzoo.bench.launchers import local, trial
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
    """Runs of which a test says how long their epochs take, and what the trial makes of them."""

    def __init__(self, tmp_path, gpus=1):
        self.trial = Trial(gpus=gpus, cores=8 * gpus, memory=lambda: 80 * GIB)
        self.path = tmp_path
        self.seconds = {}

    def begin(self, slot, name="a", before=(), **settings):
        folder = RunFolder(self.path / f"{slot}{name}")
        self.seconds[slot] = []
        self.write(folder, slot, before)
        self.trial.begin(compose(settings=settings), folder, slot)
        self.folders = {**getattr(self, "folders", {}), slot: folder}

    def write(self, folder, slot, seconds):
        self.seconds[slot] += seconds
        folder.write_metrics(
            [
                {"epoch": i + 1, "seconds": s, "peak_memory": GIB}
                for i, s in enumerate(self.seconds[slot])
            ]
        )

    def train(self, *seconds, slot=0):
        """Epochs of a run, after each of which the trial has a look."""
        for each in seconds:
            self.write(self.folders[slot], slot, [each])
            self.trial.look()
        return self.trial.choice


def test_the_first_run_measures_alone_and_beside_another(tmp_path):
    watched = Watched(tmp_path)
    watched.begin(0)
    assert watched.train(9.0, 9.0, 2.0, 2.0).jobs == 1
    assert watched.train(2.0).jobs == 2
    assert watched.train(2.0, 2.0, 2.0).why == "trying out 2 on one GPU"  # nobody has joined
    watched.begin(1)
    assert watched.train(2.2, 2.2, 2.2, 2.2, 2.2).jobs == 2  # it is still starting
    watched.train(9.0, slot=1)
    assert watched.train(9.0, 3.8, 3.8, 3.8).jobs == 1
    assert watched.trial.choice.why.endswith("1: 1.00, 2: 1.05")
    assert watched.train(1.0, 1.0, 1.0, 1.0).jobs == 1  # it is decided


def test_two_runs_that_do_not_slow_each_other_share_every_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "most_on_gpu", lambda *_: 2)
    watched = Watched(tmp_path, gpus=4)
    watched.begin(0)
    assert watched.train(9.0, 9.0, 2.0, 2.0, 2.0).jobs == 5
    watched.begin(4)
    watched.train(9.0, slot=4)
    choice = watched.train(9.0, 2.1, 2.1, 2.1)
    assert choice.jobs == 8
    assert "2: 1.90, and memory and cores allow 2" in choice.why


def test_epochs_of_an_earlier_bench_do_not_count(tmp_path):
    watched = Watched(tmp_path)
    watched.begin(0, before=[7.0] * 9)
    assert watched.train(9.0, 9.0, 2.0, 2.0).jobs == 1
    watched.train(2.0)
    watched.begin(1, before=[7.0] * 9)
    assert watched.train(2.0, 2.0, 2.0, 2.0, 2.0).jobs == 2  # its epochs are not of today
    watched.train(9.0, slot=1)
    assert watched.train(9.0, 3.9, 3.9, 3.9).why.endswith("1: 1.00, 2: 1.03")


def test_only_epochs_with_the_same_runs_on_the_gpu_count(tmp_path):
    watched = Watched(tmp_path)
    watched.begin(0)
    watched.train(9.0, 9.0, 2.0, 2.0, 2.0)
    watched.begin(1)
    watched.train(9.0, slot=1)
    watched.train(9.0, 3.9, 3.9)
    watched.trial.end(1)
    assert watched.train(2.0, 2.0, 2.0, 2.0).jobs == 2  # alone once more
    watched.begin(1, "b")
    watched.train(2.0, 2.0)
    watched.train(9.0, slot=1)
    assert watched.train(9.0, 3.9, 3.9, 3.9).why.endswith("1: 1.00, 2: 1.03")


@pytest.mark.parametrize("other", [{}, {"seed": 7}, {"backbone": "resnet32"}])
def test_short_runs_go_on_where_one_like_them_has_ended(other, tmp_path):
    watched = Watched(tmp_path)
    watched.begin(0)
    watched.train(9.0, 9.0, 2.0, 2.0, 2.0)
    watched.begin(1)
    watched.train(9.0, slot=1)
    watched.trial.end(0)
    watched.begin(0, "b", **other)
    choice = watched.train(9.0, 9.0, 2.1, 2.1, 2.1)
    if "backbone" in other:  # whose pace has nothing to be compared with
        assert choice == (1, "1 a GPU; the first run ended before more was tried")
    else:
        assert choice == (3, "trying out 3 on one GPU")


def test_a_run_too_short_to_be_measured_leaves_that_to_the_next(tmp_path):
    watched = Watched(tmp_path)
    watched.begin(0)
    watched.train(9.0, 2.0)
    watched.trial.end(0)
    watched.begin(0, "b", backbone="resnet32")
    assert watched.train(9.0, 9.0, 2.0, 2.0, 2.0).why == "trying out 2 on one GPU"


def test_runs_are_watched_until_they_end(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "LOOK", 0.01)
    looks = []
    watched = Trial(2, 8, memory=lambda: 80 * GIB)
    monkeypatch.setattr(watched, "look", lambda: looks.append(1))
    config = compose()
    for slot in range(3):
        code = "import sys; sys.stdin.read(); sys.exit(3)"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        asked = threading.Timer(0.2, process.stdin.close)
        asked.start()
        assert watched.watch(process, config, RunFolder(tmp_path / str(slot)), slot) == 3
        assert bool(looks) is (slot == 0)
        looks.clear()


@pytest.mark.parametrize(
    ("devices", "here", "jobs"),
    [
        (["cpu"], "cuda", 4),
        (["auto"], "cpu", 4),
        (["auto", "cpu"], "cpu", 4),
        (["auto"], "mps", 1),
        (["cuda:1"], "cuda", 1),
        (["auto", "cpu"], "cuda", 1),
    ],
)
def test_runs_on_a_device_that_is_not_dealt_out_come_one_by_one(devices, here, jobs, monkeypatch):
    monkeypatch.setattr("kdzoo.training.device.choose_device", lambda name: torch.device(here))
    monkeypatch.setattr(local, "cores", lambda: 4)
    monkeypatch.setattr(local, "free_memory", lambda: 64 * GIB)
    configs = [compose([f"device={device}", f"seed={i}"]) for i in range(4) for device in devices]
    launcher = local.Local(local.Local.Config(), "auto", configs)
    assert launcher.slots == jobs
    if jobs == 1:
        assert f"device={', '.join(devices)} is not measured" in launcher.why
