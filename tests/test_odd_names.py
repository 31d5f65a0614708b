"""Folders, files and classes of any name: found, shown as one line of text, and given back."""

import csv
import io
import json
import os
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from kdzoo.cli.predict import FORMS, Found
from kdzoo.compose import compose
from kdzoo.console import make_console, print_line, print_wrapped
from kdzoo.errors import UserError, in_line, quoted
from kdzoo.student import load_student, read_student_info, save_student
from kdzoo.training.run import train

NAMES = [
    "two words",
    "Übergröße",
    "[red]brackets[bold]",
    "\N{PANDA FACE}",
    "-dash",
    "line\nbreak",
    "\x1b[31mescape\x1b[2J",
    "comma, \"quote\" 'and' :smile:",
    os.fsdecode(b"caf\xe9"),  # no UTF-8
]
ANY = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
BYTES = st.binary(min_size=1, max_size=20).map(os.fsdecode).filter(lambda name: "\0" not in name)


@given(ANY | BYTES | st.sampled_from(NAMES))
@example("a\x85b\u2028c")  # which end lines as well, where Python splits them
def test_a_message_is_one_line_of_what_can_be_seen(name):
    for text in (str(UserError(f"There is no {name}.")), quoted(name), in_line(name)):
        assert text.isprintable()
    if name.isprintable():
        assert name[:60] in str(UserError(f"There is no {name}."))


@given(ANY | BYTES | st.sampled_from(NAMES))
def test_a_console_prints_one_line_of_what_can_be_seen(name):
    console = make_console(file=io.StringIO(), width=80)
    print_line(console, f"It is in {name}")
    assert console.file.getvalue() == f"It is in {in_line(name)}\n"


@pytest.mark.parametrize("command", ["eval", "export", "report", "runs", "curves", "verify"])
def test_a_name_that_is_too_long_for_the_system_is_one_message(kdzoo, command):
    done = kdzoo(command, "a" * 300)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot be used: File name too long" in done.err


@given(st.lists(ANY.filter(str.isprintable), min_size=1, max_size=40), st.integers(20, 90))
def test_a_sentence_is_broken_at_spaces_alone(words, width):
    console = make_console(file=io.StringIO(), width=width)
    print_wrapped(console, " ".join(words))
    printed = console.file.getvalue()
    assert printed.split() == " ".join(words).split()
    assert all(len(line) <= width or " " not in line.strip(" ") for line in printed.splitlines())


PREDICTED = st.lists(st.tuples(ANY | BYTES, st.just(0.5)), min_size=2, max_size=2)


@given(st.lists(st.tuples(ANY | BYTES, PREDICTED), max_size=4))
def test_csv_and_json_of_predictions_give_every_name_back(top):
    found = Found(top)
    printed = {}
    for form in ("csv", "json"):
        console = make_console(file=io.StringIO())
        FORMS[form](found, console)
        printed[form] = console.file.getvalue()
    _, *rows = csv.reader(io.StringIO(printed["csv"], newline=""))
    assert rows == [[image, *(str(value) for one in best for value in one)] for image, best in top]
    images = json.loads(printed["json"])["images"]
    assert [one["image"] for one in images] == [image for image, _ in top]
    assert [one["top"][0]["class"] for one in images] == [best[0][0] for _, best in top]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose classes are called oddly, too."""
    out = tmp_path_factory.mktemp("runs")
    small = ["backbone=resnet8", "epochs=1", "batch_size=512", "training.threads=1"]
    path = train(compose(["method=independent", *small, f"out={out}"])).path
    info = read_student_info(path)
    classes = tuple([*NAMES[:8], "x", "y"])
    save_student(path, load_student(path), info.model_copy(update={"classes": classes}))
    return path


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_commands_find_and_show_what_is_called_oddly(name, run, kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, f"./{name}/run")
    image = f"./{name}/{name}.png"
    Image.new("RGB", (8, 8), (90, 90, 90)).save(image)
    shown = in_line(name)
    done = kdzoo("predict", f"./{name}/run", image, "--csv")
    assert done.code == 0, done.err
    ((_, *_), (said, label, _)) = csv.reader(io.StringIO(done.out, newline=""))
    assert said == image.encode("utf-8", "backslashreplace").decode()[2:]
    assert label in [*NAMES[:8], "x", "y"]
    for command, where in (
        (["predict", f"./{name}/run", f"./{name}"], "out"),
        (["predict", f"./{name}/run", f"./{name}/{name}"], "err"),  # there is no such image
        (["runs", f"./{name}/no"], "err"),
        (["curves", f"./{name}/run"], "out"),
        (["eval", f"./{name}"], "err"),  # which is no run, but holds one
        (["report", f"./{name}/no"], "err"),
    ):
        done = kdzoo(*command)
        printed = getattr(done, where)
        assert done.code == (0 if where == "out" else 2), done.err
        assert all(c.isprintable() or c == "\n" for c in done.out + done.err)
        assert shown in printed.replace("\n", ""), command
        assert where == "out" or len(done.err.splitlines()) == 1


def test_runs_in_a_folder_of_any_name(kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kdzoo("run", f"out={NAMES[-1]}").code == 2  # its files are in UTF-8
    for name in NAMES[:-1]:
        small = ["method=independent", "backbone=resnet8", "training.steps=1"]
        done = kdzoo("run", *small, "training.threads=1", f"out={name}")
        assert done.code == 0, done.err
        (folder,) = (tmp_path / name).glob("*/*/*/*")
        assert done.out.endswith(f"{in_line(str(folder.relative_to(tmp_path)))}\n")
        assert "finished" in kdzoo("runs", f"./{name}").out
