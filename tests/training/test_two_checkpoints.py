"""What a run goes on from when one of its two checkpoints, or both, are not what they were."""

import shutil
import signal
from pathlib import Path

import pytest
from test_preemption import SMALL, SignalAt, outcome, preempted

from kdzoo.compose import compose
from kdzoo.training.checkpoint import load_checkpoint
from kdzoo.training.preemption import Stopped
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

LAST, BEFORE = "checkpoint.pt", "checkpoint-previous.pt"


def config_of(runs: Path):
    return compose([*SMALL, f"out={runs}"])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run with a checkpoint of step 8, in its second epoch, and of step 6, before it."""
    runs = tmp_path_factory.mktemp("stopped")
    preempted(config_of(runs), (3, signal.SIGTERM))
    preempted(config_of(runs), (8, signal.SIGTERM))
    return runs


@pytest.fixture(scope="module")
def whole(stopped, tmp_path_factory) -> tuple:
    """What the run comes to when nobody disturbs it."""
    return outcome(train(config_of(tmp_path_factory.mktemp("whole"))))


@pytest.fixture(scope="module")
def another(stopped, tmp_path_factory) -> RunFolder:
    """One that differs in its seed."""
    return train(compose([*SMALL, "seed=1", f"out={tmp_path_factory.mktemp('another')}"]))


@pytest.fixture
def folder(stopped, tmp_path) -> RunFolder:
    """A copy of the stopped run, in ``runs`` of the test's folder."""
    shutil.copytree(stopped, tmp_path / "runs")
    (checkpoint,) = (tmp_path / "runs").rglob(LAST)
    return RunFolder(checkpoint.parent)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-1],
    "a flipped bit": flipped,
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"It is on the other disk.\n",
}


def damage(file: Path, how: str) -> None:
    file.write_bytes(DAMAGES[how](file.read_bytes()))


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}


@pytest.mark.parametrize("how", DAMAGES)
def test_of_a_damaged_checkpoint_the_one_before_takes_the_place(how, folder, tmp_path):
    damage(folder.checkpoint, how)
    display = SignalAt((7, signal.SIGTERM))
    with pytest.raises(Stopped):
        train(config_of(tmp_path / "runs"), display)
    (said,) = [line for line in display.lines if " is damaged " in line]
    assert said.startswith(f"{folder.checkpoint} is damaged")
    assert said.endswith("and checkpoint-previous.pt, the one before, is taken.")
    assert f"Going on after epoch 1 in {folder.path}." in display.lines
    for path, step in ((folder.checkpoint, 7), (folder.previous, 6)):
        assert load_checkpoint(path)["step"] == step


@pytest.mark.parametrize("name", [LAST, BEFORE])
@pytest.mark.parametrize("how", ["a flipped bit", "missing"])
def test_with_one_sound_checkpoint_it_comes_to_the_same_bytes(how, name, folder, whole, tmp_path):
    file = folder.path / name
    if how == "missing":  # as where the run died while it saved
        file.unlink()
    else:
        damage(file, how)
    display = SignalAt()
    assert outcome(train(config_of(tmp_path / "runs"), display)) == whole
    place = "after epoch 1" if name == LAST else "in epoch 2, after step 8,"
    assert f"Going on {place} in {folder.path}." in display.lines


def refused(folder: RunFolder, kdzoo) -> str:
    """The line with which the command ends; nothing in the folder is another afterwards."""
    before = contents(folder)
    done = kdzoo("run", *SMALL, f"out={folder.path.parents[3]}")
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    after = contents(folder)
    assert {name: after[name] for name in before if name.endswith(".pt")} == {
        name: content for name, content in before.items() if name.endswith(".pt")
    }
    assert after["metrics.jsonl"] == before["metrics.jsonl"]
    return " ".join([*done.err.splitlines()[-3:-1], last])


@pytest.mark.parametrize("how", DAMAGES)
def test_where_both_are_damaged_it_is_refused_and_nothing_is_lost(how, folder, kdzoo):
    damage(folder.checkpoint, how)
    damage(folder.previous, "cut")
    said = refused(folder, kdzoo)
    assert "checkpoint.pt is damaged" in said
    assert "checkpoint-previous.pt, the one before, is damaged too" in said
    assert "resume=never" in said


@pytest.mark.parametrize("name", [LAST, BEFORE])
def test_where_one_is_damaged_and_the_other_missing_it_is_refused(name, folder, kdzoo):
    damage(folder.path / name, "cut")
    (folder.path / (BEFORE if name == LAST else LAST)).unlink()
    assert f"{name} is damaged" in refused(folder, kdzoo)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_checkpoint_of_another_run_is_refused(damaged, folder, another, kdzoo):
    """Where the last one is damaged, so is the one before."""
    name = BEFORE if damaged else LAST
    shutil.copy(another.checkpoint, folder.path / name)
    if damaged:
        damage(folder.checkpoint, "cut")
    said = refused(folder, kdzoo)
    assert f"{name} is of another run: seed (1) differ" in said


def test_where_both_are_missing_it_begins_anew_and_says_so(folder, whole, tmp_path):
    folder.checkpoint.unlink()
    folder.previous.unlink()
    display = SignalAt()
    assert outcome(train(config_of(tmp_path / "runs"), display)) == whole
    (said,) = [line for line in display.lines if "checkpoint" in line]
    assert said == (
        f"{folder.metrics} holds epochs, but there is no checkpoint to go on from: the run starts "
        "from the beginning."
    )


def test_only_the_last_two_are_kept(folder, tmp_path):
    train(config_of(tmp_path / "runs"))
    kept = sorted(path.name for path in folder.path.glob("*checkpoint*"))
    assert kept == [BEFORE, LAST]
    assert [load_checkpoint(folder.path / name)["step"] for name in kept] == [12, 18]
