"""Redaction by an allow-list: what is not known to be harmless becomes a pseudonym, before a record leaves the worker.

Names stay: of fields, parameters and cookies. Paths stay too, except for what `--redact path:PATTERN` names. The values
of all other fields, parameters and cookies go, and so do the userinfo and the fragments of URLs.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from gproxy.recording.body_redaction import BodyRedaction
from gproxy.recording.pseudonyms import FORM, Pseudonyms
from gproxy.recording.record import Fields, RecordedExchange, RecordedRequest, RecordedResponse

#: The fields whose values are harmless: what content is, how it is cached, what both sides accept, addresses.
HARMLESS: Final = frozenset(
    {
        "accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges",
        "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
        "access-control-expose-headers", "access-control-max-age", "access-control-request-headers",
        "access-control-request-method", "age", "allow", "alt-svc", "cache-control", "connection", "content-encoding",
        "content-language", "content-length", "content-range", "content-type", "cross-origin-embedder-policy",
        "cross-origin-opener-policy", "cross-origin-resource-policy", "date", "dnt", "etag", "expect", "expires",
        "gproxy-report", "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
        "keep-alive", "last-modified", "max-forwards", "permissions-policy", "pragma", "priority", "proxy-status",
        "range", "ratelimit", "ratelimit-limit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset",
        "referrer-policy", "retry-after", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user",
        "sec-websocket-version", "server", "strict-transport-security", "te", "traceparent", "trailer",
        "transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "vary", "via",
        "x-content-type-options", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix",
        "x-forwarded-proto", "x-frame-options", "x-real-ip", "x-request-id", "x-requested-with",
    }
)  # fmt: skip
#: The fields with a URL: its scheme, host and path stay.
_URLS: Final = frozenset({"access-control-allow-origin", "content-location", "location", "origin", "referer"})
_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization"})
#: The schemes of credentials (RFC 9110 section 11.1); the rest of the value is secret.
_SCHEMES: Final = frozenset({"apikey", "basic", "bearer", "digest", "dpop", "hmac", "mutual", "negotiate", "token"})
#: The attributes of Set-Cookie that are no secret.
_ATTRIBUTES: Final = frozenset(
    {"domain", "expires", "httponly", "max-age", "partitioned", "path", "priority", "samesite", "secure"}
)
#: The most items of a query, a form or a cookie that become pseudonyms one by one; of more, all become one.
_MOST_ITEMS: Final = 1000
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:)?(?://(?P<authority>[^/]*))?(?P<path>.*)", re.DOTALL)
#: A segment of a path without its parameters and a fragment behind it.
_SEGMENT: Final = re.compile("[^;#]*")
#: What `--keep` names to keep the names of users.
USER: Final = "user"


class Redaction:
    """The redaction of one recording. `keep` are further names whose values stay.

    `rules` are those of `--redact`: `json:$.card` hides a part of JSON bodies, `path:/reset/*` parts of paths. Raises
    ValueError for other rules, and for a pattern in place of a name.
    """

    def __init__(self, pseudonyms: Pseudonyms, keep: Iterable[str] = (), rules: Sequence[str] = ()) -> None:
        self._pseudonyms = pseudonyms
        self._keep = frozenset(map(_kept, keep))
        self._rules = list(rules)
        self._paths = [_path_rule(rule) for rule in rules if rule.startswith("path:")]
        body_rules = [rule for rule in rules if not rule.startswith("path:")]
        self._bodies = BodyRedaction(pseudonyms, body_rules, self._query)
        self._by_name: dict[str, Callable[[str], str]] = {
            **dict.fromkeys(_URLS, self._url),
            **dict.fromkeys(_CREDENTIALS, self._credential),
            "cookie": self._cookie,
            "set-cookie": self._set_cookie,
        }

    def describe(self) -> dict[str, Any]:
        """Return what the header of a recording says of its redaction."""
        return {"kept": sorted(self._keep), "hidden": self._rules, "pseudonyms": FORM}

    def apply(self, exchange: RecordedExchange) -> None:
        """Redact an exchange in place."""
        hidden: dict[str, None] = {}
        self._bodies.begin()
        self._request(exchange.request, hidden)
        for attempt in exchange.attempts:
            if attempt.request is not None:
                self._request(attempt.request, hidden)
            if attempt.response is not None:
                self._message(attempt.response)
        if exchange.response is not None:
            self._message(exchange.response)
        if hidden:
            _hide_segments(exchange, {text: self._pseudonyms.of(text) for text in hidden})
        if USER not in self._keep:
            exchange.user = self._pseudonyms.of(exchange.user)

    def _request(self, request: RecordedRequest, hidden: dict[str, None]) -> None:
        path, mark, query = request.target.partition("?")
        place = self._path(path, hidden) if path.startswith("/") else self._place(path, hidden) or path
        request.target = f"{place}{mark}{self._query(query)}"
        self._message(request)

    def _message(self, message: RecordedRequest | RecordedResponse) -> None:
        if message.body is not None:
            message.body = self._bodies.apply(message.body, message.headers)
        message.headers = self._fields(message.headers)
        message.trailers = self._fields(message.trailers)

    def _fields(self, fields: Fields) -> Fields:
        return [(name, self._value(name.lower(), value)) for name, value in fields]

    def _value(self, key: str, value: str) -> str:
        if key in self._keep or key in HARMLESS:
            return value
        return self._by_name.get(key, self._pseudonyms.of_field)(value)

    def _credential(self, value: str) -> str:
        scheme, blank, rest = value.partition(" ")
        if blank and scheme.lower() in _SCHEMES:
            return f"{scheme} {self._pseudonyms.of_field(rest.strip())}"
        return self._pseudonyms.of_field(value)

    def _cookie(self, value: str) -> str:
        if _has_many_items(value):
            return self._pseudonyms.of_field(value)
        return "; ".join(self._pair(item.strip(" \t")) for item in value.split(";"))

    def _set_cookie(self, value: str) -> str:
        if _has_many_items(value):
            return self._pseudonyms.of_field(value)
        cookie, *attributes = value.split(";")
        return "; ".join([self._pair(cookie.strip(" \t")), *(self._attribute(one.strip(" \t")) for one in attributes)])

    def _attribute(self, item: str) -> str:
        return item if item.partition("=")[0].strip(" \t").lower() in _ATTRIBUTES else self._pair(item)

    def _pair(self, item: str) -> str:
        """Return a cookie whose value is hidden; of an item without a value all is hidden."""
        name, equals, value = item.partition("=")
        if name.strip(" \t").lower() in self._keep:
            return item
        if not equals or not value.strip("="):
            return self._pseudonyms.of_field(item)
        plain = value.strip(' \t"')
        return f"{name}={self._pseudonyms.of_field(plain)}"

    def _query(self, query: str) -> str:
        if _has_many_items(query):
            return self._pseudonyms.of_field(query)
        return "&".join(";".join(map(self._parameter, part.split(";"))) for part in query.split("&"))

    def _parameter(self, item: str) -> str:
        """Return a parameter whose value is hidden; of one without a value all is hidden, since it may be the value."""
        name, equals, value = item.partition("=")
        if unquote(name.replace("+", " ")).lower() in self._keep:
            return item
        if not equals or not value.strip("="):
            return self._pseudonyms.of_bytes(_decoded(item))
        return f"{name}={self._pseudonyms.of_bytes(_decoded(value))}"

    def _url(self, value: str) -> str:
        rest, hash_mark, fragment = value.partition("#")
        rest, mark, query = rest.partition("?")
        place = self._place(rest, {})
        if place is None:
            return self._pseudonyms.of_field(value)
        return f"{place}{mark}{self._query(query)}{hash_mark}{self._query(fragment)}"

    def _place(self, text: str, hidden: dict[str, None]) -> str | None:
        """Return a URL without its query: its userinfo is hidden, and its path as `_path` does. None if it has none."""
        match = _URL.fullmatch(text)
        if match is None or "\\" in text:  # some clients read a backslash as a slash
            return None
        if match["authority"] is None:
            is_path = not match["scheme"] and (text.startswith("/") or "@" not in text)  # not mailto:, data:
            return self._path(text, hidden) if is_path else None
        userinfo, at, host = match["authority"].rpartition("@")
        origin = f"{match['scheme'] or ''}//{self._pseudonyms.of_field(userinfo)}{at}{host}"
        return f"{origin}{self._path(match['path'], hidden)}"

    def _path(self, path: str, hidden: dict[str, None]) -> str:
        """Return a path without the values of its parameters (`;jsessionid=…`), and without what a rule hides.

        Add the segments that are hidden to `hidden`, decoded.
        """
        segments = path.split("/")
        places = _hidden_places([unquote(one.partition(";")[0]) for one in segments], self._paths)
        for place, segment in enumerate(segments):
            text, mark, parameters = segment.partition(";")
            if place in places:
                hidden[unquote(text)] = None
                text = self._pseudonyms.of_bytes(unquote_to_bytes(text))
            segments[place] = f"{text}{mark}{self._query(parameters)}"
        return "/".join(segments)


def _kept(name: str) -> str:
    """Return the name as it is compared. Raises ValueError for a pattern, which would keep nothing."""
    if "*" in name:
        raise ValueError(f"keep: expected the name of a field, a parameter or a cookie, without *; found {name!r}")
    return name.lower()


def _path_rule(rule: str) -> list[str]:
    """Return the segments of the rule. Raises ValueError."""
    pattern = rule.removeprefix("path:")
    segments = [one for one in pattern.split("/") if one]
    if not pattern.startswith("/") or "*" not in segments or any("*" in one and one != "*" for one in segments):
        raise ValueError(f"expected path:/PATH/*, in which * is one segment to hide; found {rule!r}")
    return segments


def _hidden_places(texts: Sequence[str], rules: Sequence[Sequence[str]]) -> set[int]:
    """Return the places of the segments that a rule hides; of a path with dot segments, all."""
    if not rules:
        return set()
    places = [place for place, text in enumerate(texts) if text]
    if any(texts[place] in {".", ".."} for place in places):
        return set(places)
    found: set[int] = set()
    for rule in rules:
        pairs = list(zip(rule, places, strict=False))
        if len(places) >= len(rule) and all(part in {"*", texts[place]} for part, place in pairs):
            found.update(place for part, place in pairs if part == "*")
    return found


def _hide_segments(exchange: RecordedExchange, hidden: Mapping[str, str]) -> None:
    """Hide the segments in other paths too: a route may have rewritten the path, and a field may repeat it."""

    def hide(url: str) -> str:
        path, mark, rest = url.partition("?")
        return "/".join(map(hide_segment, path.split("/"))) + mark + rest

    def hide_segment(segment: str) -> str:
        match = _SEGMENT.match(segment)
        text = match[0] if match else ""
        return hidden.get(unquote(text), text) + segment[len(text) :]

    for request in (exchange.request, *(one.request for one in exchange.attempts if one.request is not None)):
        request.target = hide(request.target)
    messages = [exchange.request, exchange.response]
    messages += [one for attempt in exchange.attempts for one in (attempt.request, attempt.response)]
    for message in messages:
        if message is not None:
            message.headers = [
                (name, hide(value) if name.lower() in _URLS else value) for name, value in message.headers
            ]


def _has_many_items(text: str) -> bool:
    return text.count("&") + text.count(";") > _MOST_ITEMS


def _decoded(text: str) -> bytes:
    return unquote_to_bytes(text.replace("+", " "))
