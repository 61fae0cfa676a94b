"""A hook of MkDocs: what a page links to outside of docs/ lies in the repository and not on the site."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return the page with the plain text of each link that leaves docs/."""
    up = page.file.src_uri.count("/") + 1
    return re.sub(rf"\[([^\]]+)\]\((?:\.\./){{{up}}}[^)]*\)", r"\1", markdown)
