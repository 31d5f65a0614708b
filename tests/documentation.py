"""The fenced blocks of a page, and what its author says about them where readers do not look.

An HTML comment on the line before a block says how it is treated: ``<!-- not run: why -->``, of
some lines ``<!-- not run, lines 2-4: why -->``, ``<!-- run with: epochs=30 -->`` for settings that
make a command smaller, and ``<!-- then: assert ... -->`` for Python to follow a block.
"""

import importlib.util
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import typer.main

from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.app import app
from kdzoo.compose import compose

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FENCE = re.compile(
    r"(?P<comments>(?:^<!--.*?-->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
COMMENT = re.compile(
    r"<!-- (?P<kind>not run|run with|then)(?:, lines? (?P<first>\d+)(?:-(?P<last>\d+))?)?"
    r": (?P<text>.*?) -->",
    re.S,
)
INLINE = re.compile(r"`(kdzoo [^`]+)`")
COMMANDS = typer.main.get_command(app)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int  # of the page, where the text begins
    smaller: tuple[str, ...]  # settings that make commands smaller
    then: str
    not_run: range  # line numbers of the text, from 1

    def commands(self) -> list[tuple[str, bool]]:
        """Each command of a shell block, and whether it is to run."""
        found = []
        lines = iter(enumerate(self.text.splitlines(), 1))
        for number, line in lines:
            while line.endswith("\\"):
                line = line[:-1] + next(lines)[1]
            if line.strip():
                found.append((line, number not in self.not_run))
        return found


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        smaller: tuple[str, ...] = ()
        then, not_run = "", range(0)
        for comment in COMMENT.finditer(match["comments"]):
            if comment["kind"] == "run with":
                smaller = tuple(shlex.split(comment["text"]))
            elif comment["kind"] == "then":
                then = comment["text"]
            else:
                first = int(comment["first"] or 1)
                last = int(comment["last"] or comment["first"] or 10**6)
                not_run = range(first, last + 1)
        line = text[: match.start("text")].count("\n") + 1
        found.append(Block(match["language"], match["text"], line, smaller, then, not_run))
    return found


def check(command: str) -> None:
    """What can be known of a command that does not run: its words and settings are right."""
    words = shlex.split(command.replace(".venv/bin/", ""), comments=True)
    if words[:3] == ["python", "-m", "kdzoo.timm"]:
        return
    if "torchrun" in words:  # torchrun OPTIONS -m kdzoo run SETTINGS
        words = words[words.index("-m") + 1 :]
        if words[0] == "kdzoo.timm":
            return
    if words[0] == "sbatch":
        (script,) = (word for word in words if word.endswith(".sbatch"))
        assert (ROOT / script).is_file()
        words = ["kdzoo", "run", *words[words.index(script) + 1 :]]
    words = [word for word in words if word != "..."]
    if words[0] == "kdzoo":
        _check_kdzoo(words[1:])
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), command
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks"):
        assert importlib.util.find_spec(words[2]), command
    elif words[0] in ("python", "accelerate") and words[-1].endswith(".py"):
        assert (ROOT / words[-1]).is_file(), command
    elif "install" in words:
        _check_extras(command)
    else:
        known = (
            ["python", "-m", "venv"],
            ["pip", "uninstall", "--yes"],
            ["pip", "wheel", "--no-deps"],
            ["hatchling", "build"],
            ["pytest", "kdzoo-foo"],
        )
        assert words[:3] in known, command


def _check_kdzoo(words: list[str]) -> None:
    check_words(words)
    if words[0] in ("run", "config") and "method=foo" not in words:  # not installed here
        compose(words[1:])
    if words[0] in ("bench", "report") and words[1].startswith("benchmarks/"):
        read_matrix(ROOT / words[1], words[2:])


def check_words(words: list[str]) -> None:
    """The command is there, and takes these options."""
    if words[0].startswith("--"):
        assert words[0] in {name for part in COMMANDS.params for name in part.opts}, words
        return
    assert words[0] in COMMANDS.commands, f"there is no kdzoo {words[0]}"
    taken = {name for part in COMMANDS.commands[words[0]].params for name in part.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= taken, words


def _check_extras(command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for names in re.findall(r"(?:kdzoo|\.)\[([\w,]+)\]", command):
        assert set(names.split(",")) <= set(project["optional-dependencies"]), command
