"""What a person sees while a bench is at work."""

import io

import pytest
from hand_made import finish
from rich.console import Console

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.forecast import duration, seconds_left
from kdzoo.bench.live import StatusTable
from kdzoo.bench.matrix import read_matrix

METHODS = ("independent", "one", "mbde")
SPEC = """
methods: [independent, one, mbde]
backbones: [resnet8]
datasets: [digits]
seeds: [0, 1]
run: {epochs: 40}
"""


@pytest.fixture
def board(spec_file):
    runs = read_matrix(spec_file(SPEC)).runs
    finish(runs[0].config, 95.5)  # 2.5 s of training
    return Board([Entry(run) for run in runs])


def _state(board, method, seed):
    return next(e for e in board.entries if (e.run.method, e.run.seed) == (method, seed))


def _run_for(entry, epochs):
    """The entry is under way and has finished some epochs of a second each."""
    entry.state = State.RUNNING
    entry.folder.path.mkdir(parents=True)
    entry.folder.write_metrics(
        [
            {"epoch": epoch + 1, "seconds": 1.0, "eval": {"student": {"top1": 80.0 + epoch}}}
            for epoch in range(epochs)
        ]
    )


def _picture(board, height=30):
    console = Console(file=io.StringIO(), width=100, height=height)
    console.print(StatusTable(board))
    return console.file.getvalue().splitlines()


def test_the_table_shows_where_every_run_stands(board):
    _run_for(_state(board, "mbde", 0), 3)
    _state(board, "one", 0).state = State.FAILED
    _state(board, "one", 1).state = State.ELSEWHERE
    lines = _picture(board)
    rows = {name: next(line for line in lines if f" {name} " in line) for name in METHODS}
    assert rows["independent"].split()[-3:] == ["95.50", "·", "95.50"]
    assert rows["one"].split() == ["one", "failed", "elsewhere"]
    assert rows["mbde"].split() == ["mbde", "3/40", "82.0", "·"]
    assert "1 of 6 runs finished, 1 running, 1 failed, 1 under way in another bench" in lines[-1]


def test_a_low_terminal_shows_the_rows_at_work(board):
    _run_for(_state(board, "mbde", 0), 1)
    lines = _picture(board, height=8)
    assert len(lines) <= 8
    assert any("1/40" in line for line in lines)
    assert not any("independent" in line for line in lines)


def test_the_time_left_follows_from_what_is_known(board):
    # Five runs are open; the finished one took 2.5 s.
    board.slots = 1
    assert seconds_left(board) == pytest.approx(5 * 2.5)
    board.slots = 2
    assert seconds_left(board) == pytest.approx(5 * 2.5 / 2)
    _run_for(_state(board, "mbde", 0), 10)  # 30 epochs of a second to go
    board.slots = 1
    assert seconds_left(board) == pytest.approx(4 * 2.5 + 30)
    board.slots = 100
    assert seconds_left(board) == pytest.approx(30)


def test_what_a_run_takes_beside_its_training_counts(board, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("kdzoo.bench.board.time.monotonic", lambda: now[0])
    monkeypatch.setattr("kdzoo.bench.forecast.time.monotonic", lambda: now[0])
    board.slots = 1
    assert seconds_left(board) == pytest.approx(5 * 2.5)  # none of this bench's has ended
    entry = board.take()
    finish(entry.run.config, 91.0)
    now[0] += entry.outcome.seconds + 10
    board.finish(entry)
    assert entry.overhead == pytest.approx(10)
    left = seconds_left(board)
    entry.overhead = 0.0
    assert left == pytest.approx(seconds_left(board) + 4 * 10)
    entry.overhead = 10.0
    assert board.take()
    now[0] += 3
    assert seconds_left(board) == pytest.approx(left - 3)


def test_training_of_an_earlier_time_is_no_part_of_it(board, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("kdzoo.bench.board.time.monotonic", lambda: now[0])
    entry = next(entry for entry in board.entries if entry.state is State.WAITING)
    _run_for(entry, 2)  # 2 s before this bench
    entry.state = State.WAITING
    assert board.take() is entry
    finish(entry.run.config, 91.0)
    now[0] += entry.outcome.seconds - 2 + 10
    board.finish(entry)
    assert entry.overhead == pytest.approx(10)


def test_nothing_is_guessed_from_nothing(spec_file):
    runs = read_matrix(spec_file(SPEC)).runs
    board = Board([Entry(run) for run in runs])
    board.slots = 1
    assert seconds_left(board) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4 s"), (89, "89 s"), (300, "5 min"), (11100, "3 h 05 min")]
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text
