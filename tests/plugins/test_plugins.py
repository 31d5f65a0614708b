"""A method in a package of its own: written by kdzoo, installed, and used like a built-in."""

import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import catalogue
import pytest

from kdzoo import registry
from kdzoo.errors import UserError
from kdzoo.scaffold import new_plugin
from kdzoo.testing import METHOD_CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "writing-a-method.md").read_text()
(THREE_AT_ONCE,) = re.findall(r"```python\n([^`]*after_step[^`]*)```", PAGE)


def run_python(*arguments, path, cwd):
    """A new process that finds the packages in ``path``."""
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The packages that kdzoo wrote, and the folder they are installed in beside a broken one."""
    work = tmp_path_factory.mktemp("plugins")
    packages = [new_plugin("method", "foo_bar", work), new_plugin("dataset", "my_images", work)]
    packages.append(new_plugin("method", "foo", work))
    (packages[-1] / "kdzoo_foo.py").write_text(THREE_AT_ONCE)
    site = work / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", site]
    pip = run_python("-m", "pip", "install", *options, *packages, path="", cwd=work)
    assert pip.returncode == 0, pip.stderr
    (site / "kdzoo_bad.py").write_text("import a_module_that_is_not_there\n")
    metadata = site / "kdzoo_bad-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kdzoo-bad\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[kdzoo_methods]\nbad = kdzoo_bad:Bad\n[kdzoo_aggregators]\nbad_agg = kdzoo_bad:Agg\n"
    )
    return packages, site


# Each command in turn, in one process.
SCRIPT = """
import contextlib, io, json, sys
from kdzoo.cli import main

for command in json.loads(sys.argv[1]):
    sys.argv = ["kdzoo", *command.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main() or 0
        except SystemExit as exit_:
            code = exit_.code or 0
    print(json.dumps([command, [code, out.getvalue(), err.getvalue()]]))
"""
LIST = "list methods"
RUN = "run method=foo_bar method.weight=0.5 backbone=resnet8 training.steps=2 out=runs"
BAD = "config method=bad"


@pytest.fixture(scope="module")
def done(installed, tmp_path_factory):
    """Exit code, output and complaints of each command, and the folder they were given in."""
    _, site = installed
    folder = tmp_path_factory.mktemp("commands")
    process = run_python("-c", SCRIPT, json.dumps([LIST, RUN, BAD]), path=site, cwd=folder)
    assert process.returncode == 0, process.stderr
    return dict(map(json.loads, process.stdout.splitlines())), folder


@pytest.mark.slow
def test_the_list_shows_the_plugin_and_what_is_wrong_with_the_broken_one(done):
    code, out, err = done[0][LIST]
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("foo_bar"))
    assert "peers taught by the mean of all" in line
    assert "kdzoo-foo-bar" in line
    assert "mbde" in out
    report = " ".join((out + err).split())
    assert "The method 'bad' of the package 'kdzoo-bad' fails to import" in report
    assert "No module named 'a_module_that_is_not_there'" in report


@pytest.mark.slow
def test_the_plugin_runs_like_a_built_in_beside_a_broken_one(done):
    commands, folder = done
    code, _, err = commands[RUN]
    assert code == 0, err
    (student,) = (folder / "runs").rglob("student.safetensors")
    config = (student.parent / "config.yaml").read_text()
    assert "weight: 0.5" in config


@pytest.mark.slow
def test_a_broken_plugin_fails_where_it_is_used(done):
    code, _, err = done[0][BAD]
    assert code == 2
    assert "'bad' of the package 'kdzoo-bad' fails to import" in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.slow
def test_their_own_tests_pass(installed):
    """Of a method, a data set, and a method with sample index, stage maps and averaged peers."""
    packages, site = installed
    tests = [package / "tests" for package in packages]
    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, path=site, cwd=site)
    assert done.returncode == 0, done.stdout
    assert f"{11 + 11 + 11} passed" in done.stdout


def test_the_package_is_complete_and_has_no_blanks_left(tmp_path):
    package = new_plugin("method", "my_own", tmp_path)
    assert package == tmp_path / "kdzoo-my-own"
    written = {str(p.relative_to(package)): p for p in package.rglob("*") if p.is_file()}
    assert set(written) == {
        "pyproject.toml",
        "README.md",
        "kdzoo_my_own.py",
        "tests/test_my_own.py",
    }
    for path in written.values():
        assert "$" not in path.read_text()
    assert 'my_own = "kdzoo_my_own:MyOwn"' in written["pyproject.toml"].read_text()


@pytest.mark.parametrize("kind", ["aggregator", "regularizer", "divergence", "feature_term"])
def test_a_part_of_a_method_passes_its_own_tests(kind, tmp_path, monkeypatch):
    name = f"my_{kind}"
    package = new_plugin(kind, name, tmp_path)
    monkeypatch.syspath_prepend(str(package))
    class_name = f"My{kind.title().replace('_', '')}"
    part = getattr(importlib.import_module(f"kdzoo_{name}"), class_name)
    known = next(each for each in registry.ALL.values() if each.kind == kind)
    project = (package / "pyproject.toml").read_text()
    assert f"[project.entry-points.kdzoo_{known.plural}]" in project
    known.register(name)(part)
    try:
        tests = runpy.run_path(str(package / "tests" / f"test_{name}.py"))
        tests["test_the_equation"]()
        for check in METHOD_CHECKS:
            tests["test_contract"](check)
    finally:
        catalogue.REGISTRY.pop(("kdzoo", known.plural, name))


@pytest.mark.parametrize("name", ["", "My", "1st", "my-method", "a b", "../up", "_x", "x__y", "é"])
def test_names_that_cannot_be_are_refused(name, tmp_path):
    with pytest.raises(UserError, match="cannot be the name of a method"):
        new_plugin("method", name, tmp_path)
    assert not any(tmp_path.iterdir())


def test_names_that_are_taken_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is a method 'dml' already, of kdzoo"):
        new_plugin("method", "dml", tmp_path)
    new_plugin("method", "mine", tmp_path)
    with pytest.raises(UserError, match="exists already"):
        new_plugin("method", "mine", tmp_path)
