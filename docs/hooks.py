"""What MkDocs does besides: a page of the changelog, and roles of Sphinx that leave the name."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROLE = re.compile(r":(?:func|meth|class|data|mod|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>")
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    text = CHANGELOG.read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    return ROLE.sub(r"<code>\1</code>", html)
