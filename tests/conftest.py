"""What several test files share."""

import sys
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, settings

from kdzoo.cli import main

# The same examples each time, and no verdict on how fast a machine is.
settings.register_profile(
    "kdzoo", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kdzoo")


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def kdzoo(capsys, monkeypatch):
    """Runs a kdzoo command in this process, as ``kdzoo("run", "epochs=1")``."""

    def command(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["kdzoo", *arguments])
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        else:
            code = 0
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return command


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
