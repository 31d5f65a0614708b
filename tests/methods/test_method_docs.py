"""Every method has its page, and what the page says of its settings is what they are."""

from pathlib import Path

import pytest

from kdzoo import registry

PAGES = Path(__file__).parents[2] / "docs" / "methods"
OURS = [name for name in registry.methods.names() if registry.methods.origin(name) == "kdzoo"]


def settings_rows(config):
    """A row of the page's table for each field: its name, its default, its docstring."""
    rows = []
    for name, field in config.model_fields.items():
        if name != "name":
            meaning = " ".join((field.description or "").split()).replace("|", r"\|")
            rows.append(f"| `{name}` | {readable(field.default)} | {meaning} |")
    return rows


def readable(default):
    if isinstance(default, float):
        return f"{default:.4g}"
    if isinstance(default, tuple):
        return "[" + ", ".join(map(str, default)) + "]"
    return "none" if default is None else str(default)


@pytest.mark.parametrize("name", OURS)
def test_the_page_explains_every_setting(name):
    page = (PAGES / f"{name}.md").read_text()
    for row in settings_rows(registry.methods.get(name).Config):
        assert row in page, row


@pytest.mark.parametrize("kind", ["aggregators", "regularizers", "divergences", "feature_terms"])
def test_the_index_explains_every_setting(kind):
    page = (PAGES / "README.md").read_text()
    for name in getattr(registry, kind).names():
        assert f"| `{name}` |" in page
        for row in settings_rows(getattr(registry, kind).get(name).Config):
            assert f"| `{name}` {row}" in page, row


@pytest.mark.parametrize(
    "kind", ["methods", "aggregators", "regularizers", "divergences", "feature_terms"]
)
def test_every_setting_and_class_is_documented(kind):
    entries = getattr(registry, kind)
    for name in entries.names():
        entry = entries.get(name)
        first_line = (entry.__doc__ or "").split("\n", 1)[0]
        assert 10 < len(first_line) <= 100, (name, first_line)
        missing = [
            field for field, info in entry.Config.model_fields.items() if not info.description
        ]
        assert set(missing) <= {"name"}, (name, missing)


@pytest.mark.parametrize("name", OURS)
def test_the_page_and_the_class_name_one_source(name):
    method = registry.methods.get(name)
    page = " ".join((PAGES / f"{name}.md").read_text().replace("*", "").split())
    if name == "independent":
        assert not method.paper
    else:
        authors = method.paper.split(".")[0].split(",")[0]
        assert authors in page
        assert method.paper.split(". ")[1].rstrip(".")[:40] in page


def test_the_index_links_every_page():
    index = (PAGES / "README.md").read_text()
    for page in PAGES.glob("*.md"):
        assert page.stem == "README" or f"({page.name})" in index


def test_the_page_of_mbde_keeps_apart_what_is_known_from_what_is_not():
    page = (PAGES / "mbde.md").read_text()
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    assert [h for h in headings if h in ("Stated by the paper", "Inferred", "Chosen")] == [
        "Stated by the paper",
        "Inferred",
        "Chosen",
    ]
