"""What commands print: as JSON, in 80 columns, without colour, and to a reader who has left.

Every command of the command line is walked over; a new one needs a line in ``COMMANDS``.
"""

import errno
import inspect
import io
import json
import math
import os
import re
import sys

import pytest
from rich.text import Text
from typer import rich_utils

from kdzoo.cli import streams
from kdzoo.cli.app import app
from kdzoo.cli.json_output import print_json
from kdzoo.console import make_console, print_wrapped

TINY = ("method=one", "backbone=resnet8", "epochs=1", "batch_size=512", "training.threads=1")
PRINT_NO_TABLE = {"config", "export", "new"}
NAMES = sorted(one.name or one.callback.__name__ for one in app.registered_commands)

STUDENT = "{run}"
COMMANDS = {
    "run": ("run", *TINY, "out={out}"),  # which is finished
    "config": ("config", *TINY),
    "export": ("export", STUDENT, "--to", "{export}"),
    "new": ("new", "method", "foo"),
    "profile": ("profile", *TINY, "steps=2", "warmup=1", "out={out}"),
    "eval": ("eval", STUDENT),
    "predict": ("predict", STUDENT, "{image}"),
    "list": ("list", "methods"),
    "show": ("show", "method", "mbde"),
    "bench": ("bench", "{spec}"),
    "runs": ("runs", "{out}"),
    "curves": ("curves", STUDENT),
    "verify": ("verify", STUDENT, "out={again}"),
    "report": ("report", "{out}", "--to", "{report}"),
    "doctor": ("doctor", "--out", "{out}"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    from PIL import Image

    from kdzoo.compose import compose
    from kdzoo.training.run import train

    root = tmp_path_factory.mktemp("json")
    run = train(compose([*TINY, f"out={root / 'runs'}"]))
    Image.new("RGB", (20, 20), (90, 90, 90)).save(root / "image.png")
    (root / "spec.yaml").write_text(
        f"out: {root / 'runs'}\nmethods: [one]\nbackbones: [resnet8]\ndatasets: [digits]\n"
        "seeds: [0]\nrun: {epochs: 1, batch_size: 512}\n"
    )
    return {
        "out": root / "runs",
        "run": run.path,
        "image": root / "image.png",
        "spec": root / "spec.yaml",
        "again": root / "again",
        "export": root / "export",
        "report": root / "report",
        "result": run.read_result(),
    }


def words(name, places):
    return [one.format(**places) for one in COMMANDS[name]]


@pytest.fixture
def found(kdzoo, places):
    """What a command prints as JSON."""

    def ask(name, *more):
        arguments = words(name, places)
        done = kdzoo(*arguments, *more, "--json")
        assert done.code == 0, done.err
        assert done.out.endswith("\n")
        return json.loads(done.out, parse_constant=pytest.fail)

    return ask


def test_every_command_prints_json_or_no_table():
    assert sorted(COMMANDS) == NAMES
    for one in app.registered_commands:
        takes_json = "as_json" in inspect.signature(one.callback).parameters
        assert takes_json != ((one.name or one.callback.__name__) in PRINT_NO_TABLE)


STYLE = re.compile(r"\x1b\[[\d;]*m")
CURSOR = re.compile(r"\x1b\[[?\d;]*[A-Za-ln-z]")  # of a progress bar, which goes away
PATH = re.compile(r"\S*/\S*")
EVENT = re.compile(r"epoch \d|digits: |student top-1 ")


def too_wide(printed):
    """Lines of more than 80 characters.

    Paths stay whole, to be copied, and so does a line about what a run has reached, in a log.
    """
    lines = (PATH.sub("", line) for line in printed.splitlines() if not EVENT.match(line))
    return [line for line in lines if len(line) > 80]


@pytest.mark.parametrize("name", NAMES)
def test_each_command_keeps_to_80_columns(name, kdzoo, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(streams, "out", make_console())
    done = kdzoo(*words(name, places))
    assert done.code == 0, done.err
    assert done.out
    assert "\x1b" not in done.out + done.err
    assert not too_wide(done.out)
    assert not too_wide(kdzoo(name, "--help").out)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_does_without_colour(name, kdzoo, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(rich_utils, "FORCE_TERMINAL", True)
    monkeypatch.setattr(rich_utils, "COLOR_SYSTEM", "auto")
    for stream in ("out", "err"):
        on_terminal = make_console(stderr=stream == "err", force_terminal=True, width=80)
        monkeypatch.setattr(streams, stream, on_terminal)
    done = kdzoo(*words(name, places))
    assert done.code == 0, done.err
    for printed in (done.out, done.err, kdzoo(name, "--help").out, kdzoo(name, "--no").err):
        assert not STYLE.search(printed)
    assert not too_wide(CURSOR.sub("\n", done.out))


def test_a_terminal_has_colour_otherwise(kdzoo, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(streams, "out", make_console(force_terminal=True))
    assert STYLE.search(kdzoo("list", "methods").out)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_outlives_its_reader(name, kdzoo, places, tmp_path, monkeypatch):
    """As before ``| head -1``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", OneLine())
    done = kdzoo(*words(name, places))
    assert (done.code, "Traceback" in done.err) == (0, False), done.err


class OneLine(io.StringIO):
    """The pipe of a reader who has left after the first line."""

    def write(self, text):
        if "\n" in self.getvalue():
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        return super().write(text)


def test_the_figures_of_a_run_are_those_of_its_result(found, places):
    top1 = places["result"]["last"]["student"]["top1"]
    ran = found("run")
    assert ran == {"folder": str(places["run"]), **places["result"]}
    assert found("eval")[0]["top1"] == pytest.approx(top1)
    (listed,) = found("runs")
    assert (listed["student"], listed["state"]) == (top1, "finished")
    curves = found("curves")
    assert curves["accuracy"]["student"] == [[1, top1]]
    for name in ("report", "bench"):
        (section,) = found(name)["sections"]
        (row,) = section["methods"]
        assert row["estimates"]["student"] == {"mean": top1, "std": None, "n": 1}
        assert row["runs"] == [{"seed": 0, "folder": str(places["run"])}]
    assert (places["report"] / "report.html").exists()


def test_a_run_is_verified(found, places):
    verified = found("verify")
    assert verified["same_student"] is verified["agrees"] is True
    assert all(one["published"] == one["again"] for one in verified["figures"])
    assert len(verified["figures"]) == 9


def test_the_classes_of_images(found, places, kdzoo):
    (one,) = found("predict", "--top", "2")["images"]
    table = kdzoo("predict", str(places["run"]), str(places["image"])).out
    best = one["top"][0]
    assert [best["class"], f"{100 * best['probability']:.2f}"] == table.split()[-2:]
    assert len(one["top"]) == 2


def test_a_profile_is_what_its_file_says(found):
    profile = found("profile")
    with open(profile["table"]) as file:
        written = json.load(file)
    assert {key: profile[key] for key in written} == written
    assert sum(part["share"] for part in profile["parts"]) == pytest.approx(100)


def test_lists_and_pages(found, kdzoo):
    listed = found("list")
    table = kdzoo("list", "methods").out
    assert len(listed) >= 11
    for one in listed:
        assert one["problem"] is None
        assert one["name"] in table
    settings = {one["key"]: one["default"] for one in found("show")["settings"]}
    assert settings["method.temperature"] == 3
    page = json.loads(kdzoo("show", "backbone", "resnet8", "--peers", "2", "--json").out)
    (*first, last) = page["stages"]
    assert "branched" not in last
    for stage in first:
        before, after = stage["before"]["parameters"], stage["after"]["parameters"]
        assert before + after == page["total"]["parameters"]
        assert stage["branched"]["parameters"] == before + 2 * after
    recipe = json.loads(kdzoo("show", "recipe", "papers", "--json").out)
    assert recipe["settings"]["epochs"] == "300"  # as it stands in the file


def test_the_doctors_findings(found):
    findings = found("doctor")
    assert {"subject", "state", "text", "fix"} == findings[0].keys()
    assert {"Python", "torch", "memory", "runs"} <= {one["subject"] for one in findings}


def test_what_is_no_number_is_null(capsys):
    print_json({"a": [math.nan, (math.inf, 1.5)], "b": True}, make_console())
    assert json.loads(capsys.readouterr().out) == {"a": [None, [None, 1.5]], "b": True}


def test_other_processes_print_nothing(capsys):
    print_json([1], make_console(quiet=True))
    assert capsys.readouterr().out == ""


def test_a_terminal_of_no_size_loses_nothing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setenv("LINES", "0")
    console = make_console(file=io.StringIO())
    print_wrapped(console, "One sentence.")
    console.print(Text("a cell"))
    assert console.file.getvalue() == "One sentence.\na cell\n"
