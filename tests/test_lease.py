"""Two processes, and file locks that neither sees of the other's."""

import json
import multiprocessing
import os
import signal
import time

import psutil
import pytest

from kdzoo import files, lease
from kdzoo.errors import UserError
from kdzoo.files import lease_of, try_lock
from kdzoo.lease import Lease
from kdzoo.training import run_lock
from kdzoo.training.run_folder import RunFolder


class Blind:
    """A file lock that everybody has."""

    def __init__(self, *args, **kwargs):
        pass

    def acquire(self):
        pass

    def release(self):
        pass


@pytest.fixture(autouse=True)
def blind(monkeypatch):
    monkeypatch.setattr(files, "FileLock", Blind)
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "EXPIRES", 0.5)
    monkeypatch.setattr(lease, "SETTLE", 0.05)
    monkeypatch.setattr(run_lock, "LOOK", 0.02)


@pytest.fixture
def holder():
    """Starts a process that holds a lock: ``holder(path, machine)``; killed in the end."""
    fork = multiprocessing.get_context("fork")
    started = []

    def hold(path, machine, ready):
        if machine is not None:
            lease._machine = lambda: machine
        assert try_lock(path) is not None
        ready.set()
        signal.pause()

    def start(path, machine=None):
        ready = fork.Event()
        process = fork.Process(target=hold, args=(path, machine, ready))
        process.start()
        started.append(process)
        assert ready.wait(60)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_process_that_lives_keeps_others_away_and_a_dead_one_does_not(tmp_path, holder):
    path = tmp_path / ".lock"
    process = holder(path)
    assert try_lock(path) is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lock = try_lock(path)
    assert lock is not None
    assert try_lock(path) is None
    lock.release()
    assert not lease_of(path).exists()
    assert try_lock(path) is not None


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere, a process's start is no sum")
@pytest.mark.parametrize("step", [3600, -3600])
def test_a_clock_that_is_set_declares_nobody_dead(tmp_path, holder, monkeypatch, step):
    path = tmp_path / ".lock"
    process = holder(path)
    clock = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: clock + step)
    assert try_lock(path) is None
    process.kill()
    process.join()
    assert try_lock(path) is not None


def test_a_process_that_has_a_dead_ones_number_holds_nothing(tmp_path):
    path = tmp_path / ".lock"
    lock = try_lock(path)
    said = json.loads(lease_of(path).read_bytes())
    lock.release()
    lease_of(path).write_text(json.dumps({**said, "since_boot": said["since_boot"] - 60}))
    assert try_lock(path) is not None


def test_one_of_another_machine_is_dead_when_it_gives_no_sign_of_life(tmp_path, holder):
    path = tmp_path / ".lock"
    process = holder(path, "another")
    until = time.monotonic() + 3 * lease.EXPIRES
    while time.monotonic() < until:
        assert try_lock(path) is None
        time.sleep(0.02)
    process.kill()
    process.join()
    assert try_lock(path) is None  # nobody can know it yet
    until = time.monotonic() + 60
    while (lock := try_lock(path)) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    lock.release()


def test_a_run_waits_for_a_silent_holder_and_not_for_one_that_lives(tmp_path, holder):
    folder = RunFolder(tmp_path)
    process = holder(tmp_path / ".lock", "another")
    began = time.monotonic()
    with pytest.raises(UserError, match=f"process {process.pid} on "), folder.locked(patience=60):
        pass
    assert time.monotonic() - began < 30
    process.kill()
    process.join()
    with folder.locked(patience=60):
        assert try_lock(tmp_path / ".lock") is None


def test_of_two_that_take_over_one_has_it(tmp_path, holder):
    path = tmp_path / ".lock"
    process = holder(path)
    process.kill()
    process.join()
    fork = multiprocessing.get_context("fork")
    barrier, won, over = fork.Barrier(4), fork.Value("i", 0), fork.Event()

    def compete():
        barrier.wait()
        if try_lock(path) is not None:
            with won:
                won.value += 1
        barrier.wait()
        over.wait(60)

    rivals = [fork.Process(target=compete) for _ in range(3)]
    for rival in rivals:
        rival.start()
    barrier.wait(60)
    barrier.wait(60)
    over.set()
    for rival in rivals:
        rival.join()
    assert won.value == 1


def test_what_another_has_taken_over_is_written_no_more(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.locked():
        held = lease_of(tmp_path / ".lock")
        held.unlink()
        other = Lease.take(held)
        assert other is not None
        until = time.monotonic() + 60
        while not folder._lock.lost:
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(UserError, match="taken over by process"):
            folder.write_checkpoint({}, None)
    assert held.exists()  # it is the other's
    other.release()
