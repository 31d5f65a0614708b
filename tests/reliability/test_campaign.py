"""A few cases of each part of the campaign; benchmarks/campaign has the long form.

The campaign works in forks of a process of its own, since the one of the tests has threads, and
what waits for a thread that a fork has lost would wait for ever.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.campaign.command import Ended
from benchmarks.campaign.damage import ANY, TEXT, missing
from benchmarks.campaign.run_files import halves
from benchmarks.campaign.verdict import Tally, Verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_is_wrong_in_the_short_form():
    short = ["kills=4", "damages=20", "fuzz=100"]
    command = [sys.executable, "-m", "benchmarks.campaign", *short]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 faulty") == 3


STOPPED = """
import os, signal, sys
import benchmarks.campaign.__main__ as campaign
count = campaign.Tally.add
def count_one_and_stop(tally, verdict):
    count(tally, verdict)
    os.kill(os.getpid(), signal.{signal})
campaign.Tally.add = count_one_and_stop
sys.argv = ["campaign", "fuzz=100", "kills=1"]
sys.exit(campaign.main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_campaign_that_is_stopped_leaves_nothing_behind(number, tmp_path):
    """Nobody reads what it prints, either."""
    campaign = subprocess.Popen(
        [sys.executable, "-c", STOPPED.format(signal=number)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    campaign.stdout.close()
    with campaign.stderr as stderr:
        assert "Traceback" not in stderr.read()  # to its end, when no process is left
    assert campaign.wait() == 130
    assert list(tmp_path.glob("kdzoo-*")) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(campaign.pid, 0)


@pytest.mark.parametrize("damage", [damage for damage in ANY if damage is not missing])
def test_a_damaged_file_is_another_one(tmp_path, damage):
    path, twin = tmp_path / "a.bin", tmp_path / "b.bin"
    content = random.Random(0).randbytes(2000)
    path.write_bytes(content)
    twin.write_bytes(bytes(10))
    damage(path, random.Random(1), twin)
    assert not (path.is_file() and path.read_bytes() == content)


@pytest.mark.parametrize("damage", TEXT)
def test_a_damaged_text_is_another_one(tmp_path, damage):
    path = tmp_path / "result.json"
    text = '{\n "method": "one",\n "top1": 93.75\n}\n'
    for seed in range(20):
        path.write_text(text)
        damage(path, random.Random(seed), None)
        assert path.read_text() != text


def test_half_a_file_is_found(tmp_path):
    (tmp_path / "result.json").write_text('{"top1": 9')
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    (tmp_path / "checkpoint.pt").write_bytes(b"PK")
    (tmp_path / "student.json").write_text("{}")
    (tmp_path / ".student.safetensors.x").write_bytes(b"1")  # not under its own name yet
    assert sorted(halves(tmp_path)) == ["checkpoint.pt", "metrics.jsonl", "result.json"]


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        (Ended(0, "fine\n"), ""),
        (Ended(2, "", "error: result.json is damaged.\n"), ""),
        (Ended(None, crash="no end after 25 s"), "no end"),
        (Ended(3), "exit code 3"),
        (Ended(1, "", "Traceback (most recent call last):\n  ..."), "traceback"),
        (Ended(2), "without a message"),
        (Ended(2, "", "line\n" * 100), "a message of more"),
        (Ended(0, "\x1b]0;title\x07"), "unprintable"),
    ],
)
def test_a_bad_end_is_told(end, fault):
    assert fault in end.fault()
    assert bool(end.fault()) == bool(fault)


def test_the_tally_has_a_line_that_repeats_each_fault():
    tally = Tally("campaign fuzz --seed 3")
    tally.add(Verdict(0, "kdzoo config", "accepted"))
    tally.add(Verdict(7, "kdzoo config a=1", "faulty", ("a hang",)))
    tally.add(Verdict(9, "kdzoo config a=2", "faulty", ("a hang", "a file was made")))
    text = str(tally)
    assert "3 cases" in text
    assert "2 faulty, with 2 distinct faults" in text
    assert "2 x a hang\n    campaign fuzz --seed 3 --only 7  # kdzoo config a=1" in text
