"""Commands whose reader, terminal or disk goes away: they do their work, and say what is lost."""

import errno
import io
import os
import sys

import pytest

SMALL = (
    "method=independent",
    "backbone=resnet8",
    "device=cpu",
    "epochs=2",
    "batch_size=32",
    "dataset.train_subset=32",
)


class Gone(io.StringIO):
    """Takes some writes, and then no more."""

    def __init__(self, number: int, writes: int = 0) -> None:
        super().__init__()
        self.number = number
        self.left = writes

    def write(self, text: str) -> int:
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))
        self.left -= 1
        return super().write(text)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
@pytest.mark.parametrize("writes", [0, 1])
def test_a_run_comes_to_its_end_without_its_reader(number, writes, tmp_path, kdzoo, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Gone(number, writes))
    done = kdzoo("run", *SMALL, f"out={tmp_path}")
    assert (done.code, done.err) == (0, "")
    assert len(list(tmp_path.rglob("result.json"))) == 1


@pytest.mark.parametrize(
    "command", [["config"], ["list"], ["run", *SMALL]], ids=["config", "list", "run"]
)
def test_a_full_disk_below_stdout_is_said_at_the_end(command, tmp_path, kdzoo, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Gone(errno.ENOSPC))
    monkeypatch.chdir(tmp_path)
    done = kdzoo(*command)
    assert done.code == 1
    assert done.err.startswith("error: stdout did not take all of the output: No space left")
    assert len(list(tmp_path.rglob("result.json"))) == (command[0] == "run")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_an_error_that_cannot_be_said_keeps_its_exit_code(number, kdzoo, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone(number))
    assert kdzoo("run", "method=nix").code == 2


def test_closed_streams_are_none_to_a_run(tmp_path, kdzoo, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert kdzoo("run", *SMALL, f"out={tmp_path}").code == 0
