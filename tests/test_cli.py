"""What a person sees on the command line."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys

import pytest
from forked import start

SMALL = ("method=mbde", "backbone=resnet8", "epochs=1", "batch_size=256")


def test_help_names_the_commands_without_importing_torch():
    script = (
        "import sys; sys.argv = ['kdzoo', '--help']\n"
        "from kdzoo.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    for command in ("run", "config", "eval", "list", "show"):
        assert command in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_run_then_eval_tell_the_same_accuracy(kdzoo, tmp_path):
    ran = kdzoo("run", *SMALL, f"out={tmp_path}")
    assert ran.code == 0
    assert "epoch 1/1" in ran.out
    assert "\x1b" not in ran.out
    (result,) = tmp_path.rglob("result.json")
    judged = kdzoo("eval", str(result.parent))
    assert judged.code == 0
    top1 = judged.out.split("top-1 ")[1].split(" %")[0]
    assert f"student    │ {top1}" in ran.out.replace("┃", "│") or top1 in ran.out


def test_config_prints_a_recipe_and_writes_nothing(kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = kdzoo("config", *SMALL)
    assert done.code == 0
    assert list(tmp_path.iterdir()) == []
    recipe = tmp_path / "again.yaml"
    recipe.write_text(done.out)
    assert kdzoo("config", str(recipe)).out == done.out


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("method=mdbe", "mbde"),
        ("method.temprature=4", "temperature"),
        ("backbone=resnet21", "resnet20"),
        ("dataset=digts", "digits"),
        ("nonsense", "recipe"),
        ("epochs=zero", "epochs"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(kdzoo, tmp_path, monkeypatch, argument, named):
    monkeypatch.chdir(tmp_path)
    done = kdzoo("run", "method=mbde", argument)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1
    assert named in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_combination_that_cannot_work_writes_nothing(kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = kdzoo("run", "method=independent", "method.aggregator=ffm", "method.peers=2")
    assert done.code == 2
    assert "aggregator" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("run", "--fast"), ("list", "method"), ("shwo",)])
def test_a_wrong_command_or_option_is_exit_code_2(kdzoo, arguments):
    assert kdzoo(*arguments).code == 2


def test_eval_of_what_is_no_run(kdzoo, tmp_path):
    assert kdzoo("eval", str(tmp_path)).code == 2
    assert kdzoo("eval", str(tmp_path / "nowhere")).code == 2


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("methods", "mbde"),
        ("backbones", "resnet110_basic"),
        ("datasets", "digits"),
        ("aggregators", "ffm"),
        ("regularizers", "cd"),
        ("launchers", "ray"),
        ("schedules", "wsd"),
        ("recipes", "papers"),
    ],
)
def test_list_and_show(kdzoo, kind, name):
    listed = kdzoo("list", kind)
    assert listed.code == 0
    assert name in listed.out
    shown = kdzoo("show", kind.removesuffix("s"), name)
    assert shown.code == 0


def test_show_method_explains_every_setting_and_names_the_paper(kdzoo):
    out = kdzoo("show", "method", "mbde").out
    for word in ("method.temperature", "method.regularizers", "2010.00795", "branches"):
        assert word in out


def test_show_suggests_the_right_name(kdzoo):
    done = kdzoo("show", "method", "mdbe")
    assert done.code == 2
    assert "mbde" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_student(kdzoo, tmp_path, kill):
    """Killed after its first epoch, wherever in the second it is."""
    settings = (*SMALL[:2], "epochs=6", "batch_size=64", "dataset.train_subset=320")
    settings = (*settings, "training.threads=1")
    assert kdzoo("run", *settings, f"out={tmp_path / 'whole'}").code == 0
    said = tmp_path / "said"
    killed = start("run", *settings, f"out={tmp_path / 'killed'}", said=said)
    while killed.is_alive() and not (said.is_file() and "epoch 1/6" in said.read_text()):
        killed.join(0.01)
    os.kill(killed.pid, kill)
    killed.join()
    if kill == signal.SIGINT:
        assert killed.exitcode == 130
        assert "Traceback" not in said.read_text()
    else:
        assert killed.exitcode == -kill
    again = kdzoo("run", *settings, f"out={tmp_path / 'killed'}")
    assert "Going on " in again.out
    students = [path.read_bytes() for path in tmp_path.rglob("student.safetensors")]
    assert len(students) == 2
    assert students[0] == students[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "everything"), "'everything' is none of the choices. Choose from: aggregators"),
        (("list", "method"), "'method' is none of the choices. Did you mean methods?"),
        (("show", "mbde"), "'mbde' is a method: kdzoo show method mbde explains it."),
        (("show", "resnet20", "20"), "'resnet20' is a backbone: kdzoo show backbone resnet20"),
        (("show", "methd", "mbde"), "Did you mean method?"),
        (("export", "x", "--format", "onx"), "Did you mean onnx?"),
        (("eval", "x", "--split", "tset"), "Did you mean test?"),
        (("new", "methd", "mine"), "Did you mean method?"),
    ],
)
def test_a_word_that_is_none_of_the_choices(kdzoo, arguments, said):
    done = kdzoo(*arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert said in done.err
    assert "Value error" not in done.err


def test_the_version_is_that_of_the_package(kdzoo):
    assert kdzoo("--version").out == f"kdzoo {importlib.metadata.version('kdzoo')}\n"


def test_a_pattern_finds_backbones_of_timm_and_of_kdzoo(kdzoo):
    found = json.loads(kdzoo("list", "backbones", "timm/vit_tiny*", "--json").out)
    names = [one["name"] for one in found]
    assert "timm/vit_tiny_patch16_224" in names
    assert names == sorted(names)
    assert all(name.startswith("timm/vit_tiny") for name in names)
    ours = json.loads(kdzoo("list", "backbones", "resnet11?", "--json").out)
    assert [one["name"] for one in ours] == ["resnet110"]
    assert "timm/*NAME*" in kdzoo("list", "backbones", "nothing*").out


def test_optimizers_schedules_and_trackers_are_listed_and_shown(kdzoo):
    optimizers = {one["name"] for one in json.loads(kdzoo("list", "optimizers", "--json").out)}
    assert {"sgd", "adamw", "lion"} <= optimizers
    assert "adahessian" not in optimizers
    trackers = {one["name"] for one in json.loads(kdzoo("list", "trackers", "--json").out)}
    assert trackers == {"tensorboard", "wandb", "mlflow"}
    assert "schedule.milestones" in kdzoo("show", "schedule", "multistep").out
    assert "optimizer.betas" in kdzoo("show", "optimizer", "lion").out


@pytest.mark.parametrize(
    "command", [("report", "s.yaml", "--to", ""), ("curves", ""), ("verify", "")]
)
def test_an_empty_path_is_not_the_current_folder(command, kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = kdzoo(*command)
    assert done.code == 2
    assert "A path is empty" in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []
