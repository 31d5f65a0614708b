"""The Python blocks of docs/data.md run as they stand."""

import re
from pathlib import Path

import catalogue
import pytest

from kdzoo.registry import datasets

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_blocks_to_run():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block, monkeypatch):
    datasets.names()  # which registers ours for good
    monkeypatch.setattr(catalogue, "REGISTRY", catalogue.REGISTRY.copy())
    # no file's name: pydantic would look for the docstrings of settings in its lines
    exec(compile(block, f"<{PAGE.name}>", "exec"), {"__name__": "page"})
