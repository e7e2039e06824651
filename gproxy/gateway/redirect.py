"""Redirects (RFC 9110 section 15.4): the action of a route, and of a `redirect` listener."""

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from gproxy.config.types.route_action import RedirectTarget
from gproxy.config.types.template import Template
from gproxy.http.errors import HTTPError
from gproxy.http.placeholders import NO_GROUPS, VALUES, url_value
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.rewrite import escaped, path_match, visible

#: Slashes at the start of a path: browsers read a host after `//`, and treat `/\\` alike.
_leading_slashes = re.compile(r"[/\\]*")


class Redirect:
    """An action that redirects every request to a Location made from its own URL; `change` rewrites the path first.

    The target may use groups of the route's `patterns`. A group hides the placeholder with its name.
    """

    def __init__(
        self,
        to: RedirectTarget,
        status: int,
        change: Callable[[str], str] | None,
        patterns: Sequence[re.Pattern[str]] = (),
    ) -> None:
        self._to = to
        self._status = status
        self._change = change
        self._patterns = patterns
        #: The names in the target that are groups.
        self._groups = [name for name in to.names if any(name in found.groupindex for found in patterns)]
        self._groups += [name for name in to.names if name.isdigit()]

    def __call__(self, request: Request) -> Response:
        """Return the redirect. Raises HTTPError 400 if the target needs the host and the request has none."""
        return Response(self._status, b"", {"Location": visible(self.location(request))})

    def location(self, request: Request) -> str:
        """Return the Location. The path gets exactly one leading slash, so that it cannot begin or extend a host."""
        to = self._to
        if to.asks_for_host and not request.host:
            raise HTTPError(400, "no Host header; this redirect needs one")
        origin = "".join([VALUES[part](request) if index % 2 else part for index, part in enumerate(to.origin.parts)])
        groups = self._parts(request) if self._groups else NO_GROUPS
        path = self._filled(to.path, request, groups, escaped)
        if to.with_path:
            path += self._path_and_query(request)
        if path:
            path = "/" + _leading_slashes.sub("", path, count=1)
        return f"{origin}{path}{self._filled(to.query, request, groups, _escaped_wholly)}{to.fragment}"

    def _path_and_query(self, request: Request) -> str:
        path = self._change(request.path) if self._change else request.path
        path = "/" + _leading_slashes.sub("", path, count=1).replace("\\", "%5C")
        return f"{path}?{request.query}" if request.query else path

    def _parts(self, request: Request) -> Mapping[str, str]:
        """Return the groups of the target, as parts of the path. Raises HTTPError 400, see `path_match`."""
        match = path_match(request.path, self._patterns)
        if match is None:  # a handler has changed the path
            return dict.fromkeys(self._groups, "")
        return {name: match[int(name) if name.isdigit() else name] or "" for name in self._groups}

    def _filled(self, part: Template, request: Request, groups: Mapping[str, str], escape: Callable[[str], str]) -> str:
        """Return a path or a query. Values are percent-encoded, except a `{query}` that stands for a whole query.

        `escape` is for groups: slashes in them stay slashes in a path.
        """
        filled = part.parts[0]
        for name, literal in zip(part.parts[1::2], part.parts[2::2], strict=True):
            if name in groups:
                filled += escape(groups[name])
            elif name == "path":
                filled += quote(self._path_and_query(request), safe="")
            elif name == "query" and filled.endswith(("?", "&")):
                filled += request.query
            else:
                filled += url_value(name, request)
            filled += literal
        return filled


def _escaped_wholly(text: str) -> str:
    return quote(text, safe="", encoding="latin-1")
