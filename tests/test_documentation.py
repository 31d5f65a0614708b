"""Every command and every block of code in README and docs runs, or is at least checked."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from documentation import INLINE, PAGES, ROOT, Block, blocks, check, check_words
from PIL import Image
from safetensors.torch import save_file

import kdzoo as package
from kdzoo.bench.matrix import read_matrix
from kdzoo.errors import UserError

SMALL = ("training.steps=2", "batch_size=16", "training.threads=1")
SPEC = {"methods": ["independent", "mbde"], "backbones": ["resnet8"], "datasets": ["digits"]}
SMALL_SPEC = SPEC | {"seeds": [0], "run": {"training": {"steps": 2, "threads": 1}}, "jobs": 1}
A_RUN = re.compile(r"runs/[\w/-]*seed0-(?:\.\.\.|\*)|\bRUN\d?\b")
CLASSES = ["ant", "bee", "cat", "cow", "dog", "elk", "fly", "fox", "hen", "owl"]
NETWORK = """
from torch import nn

class MyNet(nn.Sequential):
    def __init__(self, num_classes=10, in_chans=3):
        super().__init__(nn.Conv2d(in_chans, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""


def draw(path: Path, seed: int, size: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """What the pages take for granted: photographs, a network, weights, a finished run."""
    folder = tmp_path_factory.mktemp("furnished")
    for number, name in enumerate(CLASSES):
        for image, part in enumerate(["train", "train", "train", "test"]):
            draw(folder / "photos" / part / name / f"{image}.png", 10 + 4 * number + image)
    for seed, name in enumerate(["photo.jpg", "a.jpg", "b.png", "holiday/beach.jpg"]):
        draw(folder / name, seed, 40)
    (folder / "mynet.py").write_text(NETWORK)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SMALL_SPEC))
    network = package.create_backbone("resnet8", num_classes=7)
    save_file(network.state_dict(), folder / "start.safetensors")
    shutil.copy(folder / "start.safetensors", folder / "resnet18.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = package.run(
            method="mbde",
            backbone="resnet20",
            dataset={"name": "imagefolder", "root": "photos"},
            batch_size=16,
            out="runs",
            training={"steps": 2, "threads": 1},
        )
        shutil.copy(run.path / "student.safetensors", folder)
    return folder, str(run.path)


@pytest.fixture(autouse=True)
def _other_tests_have_networks_of_this_name_too():
    sys.modules.pop("mynet", None)
    yield
    sys.modules.pop("mynet", None)


PAGES_WITH_BLOCKS = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", PAGES_WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_in_order(page, furnished, tmp_path, kdzoo, monkeypatch):
    source, run = furnished
    folder = shutil.copytree(source, tmp_path / "work")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names: dict = {}
    for block in blocks(page):
        place = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "sh":
            for command, to_run in block.commands():
                if to_run:
                    execute(A_RUN.sub(run, command), block, kdzoo, place)
                else:
                    check(command)
        elif block.language == "python" and not block.not_run:
            # on the page's own lines, so that a traceback says where
            text = "\n" * (block.line - 1) + A_RUN.sub(run, block.text)
            exec(compile(text, str(page), "exec"), names)
        elif block.language == "yaml":
            write_spec(block)
        elif block.language == "python":
            compile(block.text, place, "exec")
        else:
            assert block.language == "", f"{place}: nothing runs a block of {block.language}"
        exec(compile(block.then, place, "exec"), names)


def execute(command: str, block: Block, kdzoo, place: str) -> None:
    words = shlex.split(command.replace("SPEC", "spec.yaml"), comments=True)
    target = words.pop() if ">" in words else None
    words = [word for word in words if word != ">"]
    assert words[0] == "kdzoo", f"{place}: run by hand, or marked as not run: {command}"
    if words[1] == "run":
        check(command)
        words += [*SMALL, *block.smaller]
    done = kdzoo(*words[1:])
    assert done.code == 0, f"{place}: {command}\n{done.out}{done.err}"
    if target:
        Path(target).write_text(done.out)


def write_spec(block: Block) -> None:
    """A spec, or a part of one: it is read in full, and written where it says its name."""
    name = re.match(r"# (\w+\.yaml)\n", block.text)
    path = Path(name[1] if name else "part.yaml")
    given = yaml.safe_load(block.text)
    path.write_text(yaml.safe_dump(SPEC | given))
    if not name:  # a named one is read by the commands that follow it
        assert read_matrix(path, ())
    else:
        path.write_text(yaml.safe_dump(SPEC | given | {"seeds": [0], "run": SMALL_SPEC["run"]}))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_the_text_exist(page):
    for command in INLINE.findall(page.read_text(encoding="utf-8")):
        check_words(shlex.split(" ".join(command.split())[len("kdzoo ") :]))


@pytest.mark.parametrize(
    "wrong", ["kdzoo runn", "kdzoo eval RUN --spilt all", "kdzoo run lr=fast", "make tset", "rm *"]
)
def test_a_command_that_is_wrong_is_found(wrong):
    with pytest.raises((AssertionError, UserError, ValueError)):
        check(wrong)


def test_a_block_says_why_it_does_not_run():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not re.search(r"<!-- not run[^:]*: *-->", text)
