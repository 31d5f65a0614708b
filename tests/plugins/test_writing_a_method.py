"""What docs/writing-a-method.md shows works as it stands."""

import re
from pathlib import Path

import pytest

from kdzoo import registry
from kdzoo.bench.spec import read_spec
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.testing import METHOD_CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "writing-a-method.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def foo(monkeypatch):
    """The page's class under its name, as if it were installed."""
    names: dict = {}
    exec(compile(PYTHON[0], "writing-a-method.md", "exec"), names)
    get, known = registry.methods.get, registry.methods.names()
    monkeypatch.setattr(registry.methods, "names", lambda: [*known, "foo"])
    monkeypatch.setattr(
        registry.methods, "get", lambda name: names["Foo"] if name == "foo" else get(name)
    )


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
def test_the_class_keeps_the_contract(check, foo):
    check("foo")


def test_the_test_is_a_test(foo):
    names: dict = {}
    exec(compile(PYTHON[2], "writing-a-method.md", "exec"), names)
    names["test_contract"](METHOD_CHECKS[0])
    assert len(METHOD_CHECKS) == 10, "the page says ten"


def test_the_spec_can_be_read(foo, tmp_path):
    path = tmp_path / "foo.yaml"
    path.write_text(YAML[0])
    assert [row.label for row in read_spec(path).methods] == ["independent", "one", "foo"]


def test_the_tables_name_what_there_is():
    fields = {*MethodOutputs.__dataclass_fields__, *Batch.__dataclass_fields__}
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert named == fields
    section = PAGE.split("## When a loss is not enough")[1].split("\n## ")[0]
    row = r"^\| [^|]+ \| [^|`]*`(\w+)[^|]* \| ([^|]+) \|$"  # the first name in the second column
    rows = re.findall(row, section, re.MULTILINE)
    assert len(rows) >= 15  # each method that needs more adds one
    for attribute, examples in rows:
        assert hasattr(Method, attribute), attribute
        assert set(re.findall(r"`(\w+)`", examples)) <= {*registry.methods.names()}
