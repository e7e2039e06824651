"""Hooks of the site that scripts/docs builds: links that lead out of docs/, and requests to other origins."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\((\.\.?/[^)#\s]+)\)")
_REQUEST = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?(?:https?:)?//|<link\b[^>]*?\bhref=\"?(?:https?:)?//"
)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace links to files outside docs/, which the site does not contain, by the path in the repository."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def path_only(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if target.is_relative_to(ROOT / "docs") or not target.exists():
            return match[0]  # a missing file stays a link, so that the strict build fails
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if match[1].strip("`") == path else f"{match[1]} (`{path}`)"

    return _LINK.sub(path_only, markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Reject a page that makes a browser ask another origin."""
    if match := _REQUEST.search(output):
        raise PluginError(f"{page.file.src_uri} makes a request to another origin: {match[0]}")
    return output
