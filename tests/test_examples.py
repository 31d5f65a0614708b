"""Each example runs, in small, and what it deploys has learnt something."""

import json
import re
import runpy
import sys
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
EPOCHS = {  # as few as tell learning from guessing, which is 10 % right
    "accelerate_loop.py": 1,
    "lightning_module.py": 1,
    "plain_pytorch.py": 2,
    "timm_training.py": 3,
}


def test_all_examples_are_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EPOCHS)


@pytest.mark.parametrize("name", EPOCHS)
def test_an_example_trains_a_student(name, capsys, monkeypatch, tmp_path):
    if name == "lightning_module.py":
        pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, str(EPOCHS[name])])
    runpy.run_path(str(EXAMPLES / name))
    (top1,) = re.findall(r"^student top-1 ([\d.]+) %$", capsys.readouterr().out, re.M)
    assert float(top1) > 30


def test_the_notebook_runs_from_top_to_bottom(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    notebook = json.loads((EXAMPLES / "digits.ipynb").read_text(encoding="utf-8"))
    names: dict = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace('"epochs": 8', '"epochs": 2')
            exec(source.replace("%matplotlib inline\n", ""), names)
    assert names["mbde"].read_result()["epochs"] == 2
    assert len(names["found"].labels()) == 5
