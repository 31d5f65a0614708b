"""What others read to cite kdzoo, to report and to join in is valid, and says what is so."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from documentation import ROOT

import kdzoo

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yaml"))


def read(path: str | Path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation_is_that_of_this_version():
    """What the Citation File Format 1.2.0 asks for: https://citation-file-format.github.io."""
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["type"] in ("software", "dataset")
    assert citation["version"] == kdzoo.__version__
    assert citation["license"] == "Apache-2.0"
    keywords = citation["keywords"]
    assert len(keywords) == len(set(keywords))
    for work in (citation, *citation["references"]):
        assert all(author.keys() & {"name", "family-names", "alias"} for author in work["authors"])
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert isinstance(reference["year"], int)


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_of_githubs(form):
    content = read(form)
    assert (
        {"name", "description", "body"}
        <= content.keys()
        <= {*("name", "description", "body", "labels", "title", "assignees", "projects", "type")}
    )
    ids = [field["id"] for field in content["body"] if "id" in field]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert field.keys() <= {"type", "id", "attributes", "validations"}
        assert field["attributes"]["label"]
        assert re.fullmatch(r"[\w-]+", field["id"])
        assert field.get("validations", {}).keys() <= {"required"}


def test_the_chooser_of_issue_forms():
    assert read(".github/ISSUE_TEMPLATE/config.yml").keys() <= {
        *("blank_issues_enabled", "contact_links")
    }


def test_the_hooks_before_a_commit_are_the_linters_of_make():
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    (linters,) = re.findall(r"^lint: env\n((?:\t.*\n)+)", makefile, re.M)
    of_make = [shlex.split(line.removesuffix(" .")) for line in linters.strip().splitlines()]
    assert [shlex.split(hook["entry"]) for hook in repository["hooks"]] == [
        [word for word in words if word != "."] for words in of_make
    ]
    assert all(hook["language"] == "system" for hook in repository["hooks"])
