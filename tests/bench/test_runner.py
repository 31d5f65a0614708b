"""What a bench does with its runs, with a launcher that makes results out of thin air."""

import io
import shlex
import signal
import threading

import pytest
from hand_made import finish
from rich.console import Console

from kdzoo.bench.board import Claim, State
from kdzoo.bench.launchers.base import LaunchError
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.runner import run_bench
from kdzoo.component import ComponentConfig
from kdzoo.errors import UserError
from kdzoo.registry import launchers
from kdzoo.training.run_folder import RunFolder

SPEC = """
methods: [independent, one]
backbones: [resnet8]
datasets: [digits]
seeds: [0, 1]
launcher: instant
"""


class Script:
    """What the instant launcher does, and what it was asked for."""

    def __init__(self):
        self.asked = []
        self.do = lambda config, stopped: None


script = Script()


@launchers.register("instant")
class Instant:
    class Config(ComponentConfig):
        name: str = "instant"

    def __init__(self, config, jobs, configs):
        self.slots = 1 if jobs == "auto" else jobs
        self.why = "as it was told"
        self.stopped = threading.Event()

    def carry_out(self, config, folder, needs, slot):
        script.asked.append((config.method.name, config.seed))
        script.do(config, self.stopped)
        if self.stopped.is_set():
            raise LaunchError("stopped")
        finish(config, 90.0 + config.seed)

    def stop(self):
        self.stopped.set()


@pytest.fixture(autouse=True)
def fresh_script(monkeypatch):
    monkeypatch.setattr(script, "asked", [])
    monkeypatch.setattr(script, "do", lambda config, stopped: None)


def bench(path, *overrides):
    output = io.StringIO()
    board = run_bench(read_matrix(path, overrides), Console(file=output, width=200))
    return board, output.getvalue()


def test_runs_come_in_the_spec_s_order(spec_file):
    board, said = bench(spec_file(SPEC))
    assert script.asked == [("independent", 0), ("one", 0), ("independent", 1), ("one", 1)]
    assert board.count(State.FINISHED) == 4
    assert "done    digits / resnet8 / one / seed 1: student 91.00 %" in said
    assert "4 of 4 runs finished" in said


def test_what_is_finished_is_not_run_again(spec_file):
    path = spec_file(SPEC)
    finish(read_matrix(path).runs[1].config, 95.0)
    _, said = bench(path)
    assert ("one", 0) not in script.asked
    assert len(script.asked) == 3
    assert "1 of 4 runs are there already" in said
    script.asked.clear()
    assert bench(path)[1] == ""
    assert script.asked == []


@pytest.mark.parametrize("content", ["{}", "null", "", '{"method": "one"}'])
def test_a_damaged_result_is_made_again_and_that_is_said(spec_file, content):
    path = spec_file(SPEC)
    bench(path)
    script.asked.clear()
    run = read_matrix(path).runs[1]
    run.folder.result.write_text(content)
    _, said = bench(path)
    assert script.asked == [("one", 0)]
    assert f"again   digits / resnet8 / one / seed 0: {run.folder.result}" in said
    assert run.folder.is_finished


@pytest.mark.parametrize("name", ["student.safetensors", "student.json", "metrics.jsonl"])
def test_a_run_whose_files_are_another_s_is_made_again(spec_file, name):
    path = spec_file(SPEC)
    bench(path)
    script.asked.clear()
    one, other = read_matrix(path).runs[1], read_matrix(path).runs[2]
    (one.folder.path / name).write_bytes((other.folder.path / name).read_bytes())
    _, said = bench(path)
    assert script.asked == [("one", 0)]
    assert str(one.folder.path / "") in said


def test_an_error_of_the_system_in_one_run_fails_that_run_alone(spec_file):
    def fail(config, stopped):
        if (config.method.name, config.seed) == ("independent", 0):
            raise OSError("Too many open files")

    script.do = fail
    board, said = bench(spec_file(SPEC))
    assert (board.count(State.FAILED), board.count(State.FINISHED)) == (1, 3)
    assert "FAILED  digits / resnet8 / independent / seed 0: Too many open files" in said


def test_a_run_folder_that_cannot_be_written_fails_that_run_alone(spec_file):
    path = spec_file(SPEC)
    folder = read_matrix(path).runs[0].folder.path
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    board, _ = bench(path)
    assert (board.count(State.FAILED), board.count(State.FINISHED)) == (1, 3)
    assert str(folder) in board.entries[0].message


def test_it_names_the_command_that_reports_on_the_same_runs(spec_file, kdzoo, tmp_path):
    elsewhere = tmp_path / "some where"
    done = kdzoo("bench", str(spec_file(SPEC)), f"out={elsewhere}", "methods=[one]")
    (line,) = [line for line in done.out.splitlines() if line.startswith("kdzoo report")]
    command = shlex.split(line.partition(" writes ")[0])
    report = kdzoo(*command[1:])
    assert report.code == 0
    assert "none failed" in report.out
    assert (elsewhere / "report-spec" / "report.html").is_file()


def test_it_goes_on_past_a_failure_and_tells_of_it(spec_file, kdzoo):
    def fail(config, stopped):
        if (config.method.name, config.seed) == ("independent", 0):
            raise LaunchError("The term 'ce' was no finite number.")

    script.do = fail
    path = spec_file(SPEC)
    done = kdzoo("bench", str(path))
    assert done.code == 1
    assert len(script.asked) == 4
    failed = read_matrix(path).runs[0].folder
    assert "failed: digits / resnet8 / independent / seed 0" in done.err
    assert str(failed.path / "log.txt") in done.err
    assert "The term 'ce' was no finite number." in done.err
    assert "left out: 1 failed" in done.out
    assert failed.read_failure() == "The term 'ce' was no finite number."

    script.do = lambda config, stopped: None
    again = kdzoo("bench", str(path))
    assert again.code == 0
    assert script.asked[4:] == [("independent", 0)]
    assert "none failed" in again.out
    assert failed.read_failure() is None


def test_a_run_that_ends_without_a_result_has_failed(spec_file, monkeypatch):
    monkeypatch.setattr(Instant, "carry_out", lambda self, *_: None)
    board, said = bench(spec_file(SPEC))
    assert board.count(State.FAILED) == 4
    assert "It ended without a result." in said


def test_a_folder_of_another_run_is_left_alone(spec_file):
    path = spec_file(SPEC)
    folder = read_matrix(path).runs[0].folder
    folder.path.mkdir(parents=True)
    folder.config.write_text("epochs: 7\n")
    board, said = bench(path)
    assert board.count(State.FAILED) == 1
    assert "another config" in said
    assert folder.config.read_text() == "epochs: 7\n"
    assert not folder.is_finished


def test_a_teacher_is_a_run_of_its_own_that_comes_first(spec_file):
    path = spec_file(SPEC.replace("[independent, one]", "[kd]"))
    board, _ = bench(path, "jobs=4")
    for seed in (0, 1):
        assert script.asked.index(("independent", seed)) < script.asked.index(("kd", seed))
    assert board.count(State.FINISHED) == 2  # teachers are not in the tables


def test_a_teacher_that_the_spec_asks_for_is_trained_once(spec_file):
    board, _ = bench(spec_file(SPEC.replace("[independent, one]", "[kd, independent]")))
    assert sorted(script.asked) == [
        ("independent", 0),
        ("independent", 1),
        ("kd", 0),
        ("kd", 1),
    ]
    assert board.count(State.FINISHED) == 4


def test_without_its_teacher_a_run_fails(spec_file):
    def fail(config, stopped):
        if config.method.name == "independent" and config.seed == 0:
            raise LaunchError("No.")

    script.do = fail
    board, _ = bench(spec_file(SPEC.replace("[independent, one]", "[kd]")))
    states = {(e.run.method, e.run.seed): e.state for e in board.entries if e.in_tables}
    assert states == {("kd", 0): State.FAILED, ("kd", 1): State.FINISHED}


def test_two_benches_never_run_the_same_cell(spec_file):
    path = spec_file(SPEC.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4]"))
    both = threading.Barrier(2, timeout=60)
    started = threading.Semaphore(2)

    def meet(config, stopped):
        if started.acquire(blocking=False):
            both.wait()  # both benches are at work at the same time

    script.do = meet
    boards = []
    threads = [threading.Thread(target=lambda: boards.append(bench(path)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(script.asked) == sorted(set(script.asked))
    assert len(script.asked) == 10
    assert [board.count(State.FINISHED) for board in boards] == [10, 10]


def test_a_run_that_another_process_holds_is_picked_up_later(spec_file, monkeypatch):
    monkeypatch.setattr("kdzoo.bench.board.RECHECK", 0.01)
    path = spec_file(SPEC)
    held = read_matrix(path).runs[0].folder
    lock = held.locked()
    lock.__enter__()

    def let_go(config, stopped):
        if len(script.asked) == 3:
            lock.__exit__(None, None, None)

    script.do = let_go
    board, _ = bench(path)
    assert script.asked[-1] == ("independent", 0)
    assert board.count(State.FINISHED) == 4


def test_a_claim_holds_against_other_benches(tmp_path):
    folder = RunFolder(tmp_path / "run")
    first, second = Claim(folder), Claim(folder)
    assert first.take()
    assert not second.take()
    first.give_up()
    assert second.take()
    second.give_up()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_stops_and_says_how_to_go_on(spec_file, kdzoo, monkeypatch, number):
    path = spec_file(SPEC)
    at_work = threading.Event()

    def hang(config, stopped):
        at_work.set()
        stopped.wait(60)

    def interrupted(pending, *_):
        assert at_work.wait(60)
        signal.raise_signal(number)
        raise AssertionError("nobody heard the signal")

    script.do = hang
    monkeypatch.setattr("kdzoo.bench.runner.wait", interrupted)
    done = kdzoo("bench", str(path))
    assert done.code == 128 + number
    assert "The same command goes on" in done.err
    assert script.asked == [("independent", 0)]
    assert read_matrix(path).runs[0].folder.read_failure() is None


def test_several_jobs_run_at_once(spec_file):
    together = threading.Barrier(4, timeout=60)
    script.do = lambda config, stopped: together.wait()
    board, _ = bench(spec_file(SPEC), "jobs=4")
    assert board.count(State.FINISHED) == 4


def test_a_bug_in_a_launcher_is_not_hidden(spec_file):
    def bug(config, stopped):
        raise ZeroDivisionError

    script.do = bug
    with pytest.raises(ZeroDivisionError):
        bench(spec_file(SPEC))


def test_a_folder_that_cannot_be_written_is_refused(spec_file, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write to"):
        bench(spec_file(SPEC), f"out={tmp_path / 'file' / 'runs'}")
    assert script.asked == []
