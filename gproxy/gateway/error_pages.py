"""The pages of error responses: those of `[errors]`, and the built-in ones in HTML and as text."""

import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Final

from gproxy.config.types.error_page import PLACEHOLDERS, ErrorPage
from gproxy.config.types.template import Template

#: The page for browsers. It loads nothing, and the browser chooses light or dark colours.
_HTML: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status} {title}</title>
<style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 12vh auto; padding: 0 1rem; overflow-wrap: break-word; }
p:empty { display: none; }
</style>
</head>
<body>
<main>
<h1>{status} {title}</h1>
<p>{detail}</p>
<p>Request <code>{id}</code></p>
</main>
</body>
</html>
"""
_TEXT: Final = "{status} {title}: {detail} ({id})\n"
#: Kind -> page. JSON has none: problem details omit what is empty.
_BUILT_IN: Final = {
    "html": Template.parse(_HTML, PLACEHOLDERS).parts,
    "text": Template.parse(_TEXT, PLACEHOLDERS).parts,
}
#: The same for errors without a detail; the style of the page hides an empty one.
_WITHOUT_DETAIL: Final = {**_BUILT_IN, "text": Template.parse(_TEXT.replace(": {detail}", ""), PLACEHOLDERS).parts}
#: Kind -> media type. A page in JSON has a format of its own.
_TYPES: Final = {"html": "text/html; charset=utf-8", "text": "text/plain; charset=utf-8", "json": "application/json"}
#: Kind -> how a value is written into a page.
_ESCAPES: Final[dict[str, Callable[[str], str]]] = {
    "html": escape,
    "text": str,
    "json": lambda value: json.dumps(value)[1:-1],
}


class ErrorPages:
    """The pages by kind and status. `pages` has those of `[errors]` by the name of their option: `404` or `5xx`."""

    def __init__(self, pages: Mapping[str, Iterable[ErrorPage]]) -> None:
        self._pages: dict[tuple[str, str], tuple[str, ...]] = {
            (page.kind, name): page.text.parts for name, files in pages.items() for page in files
        }

    def fill(self, kind: str, status: int, values: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the media type and the text of the page; None if there is no page of this kind."""
        parts = self._parts(kind, status) or (_BUILT_IN if values["detail"] else _WITHOUT_DETAIL).get(kind)
        if parts is None:
            return None
        written = _ESCAPES[kind]
        return _TYPES[kind], "".join([written(values[part]) if at % 2 else part for at, part in enumerate(parts)])

    def _parts(self, kind: str, status: int) -> tuple[str, ...] | None:
        """Return the user's page of this status, else that of all with its first digit."""
        return self._pages.get((kind, str(status))) or self._pages.get((kind, f"{status // 100}xx"))
