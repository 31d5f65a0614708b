"""What the shell is offered while a command is typed."""

import os
import subprocess
import sys

import pytest

from kdzoo import registry


@pytest.fixture
def offered(kdzoo, monkeypatch):
    """The words that bash is given after the line, which it cuts at every ``=``."""

    def ask(line: str, shell: str = "bash") -> list[str]:
        words = line.replace("=", " = ").split()
        if line.endswith(" "):
            words.append("")
        monkeypatch.setenv("_KDZOO_COMPLETE", f"complete_{shell}")
        if shell == "bash":
            monkeypatch.setenv("COMP_WORDS", "\n".join(words))
            monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        else:
            monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        done = kdzoo()
        assert (done.code, done.err) == (0, "")
        return done.out.split()

    return ask


def test_names_of_methods_backbones_and_data_sets(offered):
    assert offered("kdzoo run method=") == registry.methods.names()
    assert offered("kdzoo run method=mb") == ["mbde"]
    assert "resnet110" in offered("kdzoo config seed=1 backbone=resnet1")
    assert offered("kdzoo profile dataset=cifar") == ["cifar10", "cifar100"]
    assert offered("kdzoo run schedule=w") == ["wsd"]


def test_keys_are_those_of_the_method_that_is_chosen(offered):
    assert "method.feature_weight=" in offered("kdzoo run method=byot method.")
    assert "method.feature_weight=" not in offered("kdzoo run method=one method.")
    assert set(offered("kdzoo run training.checkpoint")) == {
        "training.checkpointing=",
        "training.checkpoint_every=",
    }
    assert "dataset.root=" in offered("kdzoo run dataset=imagefolder dataset.r")


def test_values_that_are_one_of_a_few_and_defaults(offered):
    assert offered("kdzoo run precision=") == ["auto", "fp32", "bf16", "fp16"]
    assert offered("kdzoo run training.compile=") == ["true", "false", "auto"]
    assert offered("kdzoo run lr") == ["lr=0.1", "lr="]


def test_words_of_the_commands(offered):
    assert offered("kdzoo list opt") == ["optimizers"]
    assert offered("kdzoo show method kd") == ["kd", "kdcl"]
    assert offered("kdzoo show recipe pa") == ["papers"]
    assert offered("kdzoo eval RUN --split t") == ["test", "train"]
    assert offered("kdzoo ru") == ["run", "runs"]


def test_folders_of_runs(offered, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = finished(90.0, method="one").path.relative_to(tmp_path)
    assert offered("kdzoo eval digits/") == [str(run)]
    assert offered("kdzoo curves dig") == [str(run)]
    assert offered("kdzoo export cifar") == []
    tmp_path.joinpath("digits").rename(tmp_path / "runs")
    assert offered("kdzoo predict ") == [f"runs/{run.relative_to('digits')}"]


def test_other_shells_are_given_whole_words(offered):
    assert 'schedule=wsd"' in " ".join(offered("kdzoo run schedule=w", "zsh"))


def test_nothing_heavy_is_waited_for():
    script = (
        "import sys; sys.argv = ['kdzoo']\n"
        "from kdzoo.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'timm', 'scipy') if name in sys.modules])"
    )
    typed = {"COMP_WORDS": "kdzoo\nrun\nmethod.te", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **typed, "_KDZOO_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["method.temperature=3.0", "method.temperature=", "[]"]
