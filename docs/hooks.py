"""What MkDocs does to each page: roles of Sphinx in docstrings, such as :func:, leave the name."""

import re
from typing import Any

ROLE = re.compile(r":(?:func|meth|class|data|mod|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    return ROLE.sub(r"<code>\1</code>", html)
