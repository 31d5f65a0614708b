"""Links between pages, and the site: nothing leads nowhere, and search needs no network."""

import re
from pathlib import Path

import pytest
from documentation import ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *(
        page
        for folder in ("docs", "examples", "benchmarks")
        for page in (ROOT / folder).rglob("*.md")
    ),
]
LINK = re.compile(r"\]\(([^)\s\"]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.M | re.S)
HEADING = re.compile(r"^#+ (.+)$", re.M)
GENERATED = {"changelog.md"}
"""Pages that only the site has."""


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as Markdown's toc and GitHub have it."""
    from markdown.extensions.toc import slugify

    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {slugify(re.sub(r"[`*]", "", title), "-") for title in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page):
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        assert there.exists() or name in GENERATED, f"{target} is not there"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{name or page.name} has no heading {anchor}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation as a site."""
    mkdocs = pytest.importorskip("mkdocs.commands.build")
    pytest.importorskip("material")
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        mkdocs.build(config)
    return folder


@pytest.mark.slow
def test_search_works_from_the_disk_and_nothing_is_asked_of_a_server(site, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((site / "methods" / "mbde.html").as_uri())
    page.keyboard.press("f")
    page.keyboard.type("onnxruntime")
    found = page.locator(".md-search-result__link").first
    found.wait_for()
    assert "deploying.html" in found.get_attribute("href")
    assert errors == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    page.close()
