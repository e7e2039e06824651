"""The fields of `[log] fields`: formats of lines with chosen fields, and what such a line needs besides the exchange.

All is chosen at the start: a format calls one function for each field, and only fields that a file names are noted.
"""

import json
from collections.abc import Callable, Sequence
from typing import Final

from gproxy.config.types.access_log import DEFAULT_FIELDS
from gproxy.http.exchange import Exchange, without_query
from gproxy.http.placeholders import client_scheme
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.observe.access_line import FORMATS, seconds, timestamp
from gproxy.observe.log import escape

#: The longest noted value, in characters; it ends with an ellipsis.
LONGEST: Final = 1024
#: Headers whose value is a URL; its query and its fragment are omitted, because they carry secrets.
_URLS: Final = frozenset({"referer", "location", "content-location"})

_json: Final = json.JSONEncoder(separators=(",", ":")).encode

#: Fields that are texts, in every format.
_TEXTS: Final[dict[str, Callable[[Exchange], object]]] = {
    "time": lambda exchange: timestamp(exchange.started),
    "id": lambda exchange: exchange.id,
    "client": lambda exchange: exchange.client,
    "method": lambda exchange: exchange.method,
    "path": lambda exchange: exchange.target,
    "protocol": lambda exchange: exchange.protocol,
    "route": lambda exchange: exchange.route,
    "upstream": lambda exchange: exchange.upstream,
    "backend": lambda exchange: exchange.backend,
    "reason": lambda exchange: exchange.reason,
    "vhost": lambda exchange: exchange.host,
    "referer": lambda exchange: exchange.referer,
    "ua": lambda exchange: exchange.user_agent,
    "user": lambda exchange: exchange.user,
    "auth": lambda exchange: exchange.auth,
    "report": lambda exchange: exchange.report,
    "handlers": lambda exchange: exchange.account.handler_times if exchange.account is not None else "",
    "trace": lambda exchange: exchange.trace_ids[0],
}
#: Fields that are numbers: as text, and as a value of JSON.
_WRITTEN: Final[dict[str, Callable[[Exchange], object]]] = {
    "status": lambda exchange: str(exchange.status),
    "duration": lambda exchange: seconds(exchange.duration),
    "size": lambda exchange: str(exchange.bytes_sent),
    "reqsize": lambda exchange: str(exchange.bytes_received),
    "tries": lambda exchange: str(exchange.tries),
    "apptime": lambda exchange: seconds(exchange.apptime) if exchange.apptime >= 0 else "",
}
_NUMBERS: Final[dict[str, Callable[[Exchange], object]]] = {
    "status": lambda exchange: exchange.status,
    "duration": lambda exchange: round(exchange.duration, 6),
    "size": lambda exchange: exchange.bytes_sent,
    "reqsize": lambda exchange: exchange.bytes_received,
    "tries": lambda exchange: exchange.tries,
    "apptime": lambda exchange: round(exchange.apptime, 6) if exchange.apptime >= 0 else None,
}


class NotedFields:
    """The fields of the request and the response that are noted in an exchange, which has no attribute for them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._size = len(names)
        self._of_request = [(index, reader) for index, name in enumerate(names) if (reader := _reader(name))]
        self._of_response = [
            (index, name.removeprefix("response.").lower())
            for index, name in enumerate(names)
            if name.startswith("response.")
        ]

    def place(self, name: str) -> int:
        """Return the index of the field among the noted ones; -1 if it is not noted."""
        return self._names.index(name) if name in self._names else -1

    @classmethod
    def of(cls, fields: Sequence[str]) -> "NotedFields | None":
        """Return what the fields of a line need; None if the exchange has all of them."""
        names = noted_names(fields)
        return cls(names) if names else None

    def note_request(self, request: Request) -> None:
        """Note the values of the request, as the client has sent it; to be called before handlers change it."""
        noted = request.exchange.noted = [""] * self._size
        for index, reader in self._of_request:
            noted[index] = _bounded(reader(request))

    def note_response(self, exchange: Exchange, response: Response) -> None:
        """Note the values of the response, as handlers have left it."""
        noted = exchange.noted
        if not noted:  # rejected before a request existed
            noted = exchange.noted = [""] * self._size
        for index, key in self._of_response:
            noted[index] = _bounded(_of_header(key, response.headers.get(key, "")))


def noted_names(fields: Sequence[str]) -> list[str]:
    """Return the names of the fields that the exchange itself does not have, in the order of its `noted`."""
    return [name for name in fields if name not in _TEXTS and name not in _NUMBERS]


def line_format(name: str, fields: Sequence[str]) -> Callable[[Exchange], str]:
    """Return the format of this name for lines with these fields. Raises ValueError for an unknown format."""
    if name not in FORMATS:
        raise ValueError(f"unknown log format {name!r}; expected one of {', '.join(FORMATS)}")
    if tuple(fields) == DEFAULT_FIELDS or name == "combined":
        return FORMATS[name]
    noted = noted_names(fields)
    own = _TEXTS | (_NUMBERS if name == "json" else _WRITTEN)
    getters = [own[field] if field in own else _noted(noted.index(field)) for field in fields]
    make = _json_format if name == "json" else _ltsv_format
    plain = make(fields, getters)
    if "report" in fields or not {*DEFAULT_FIELDS} <= {*fields}:
        return plain
    reporting = make([*fields, "report"], [*getters, own["report"]])  # as in the usual lines
    return lambda exchange: reporting(exchange) if exchange.report else plain(exchange)


def _ltsv_format(labels: Sequence[str], getters: Sequence[Callable[[Exchange], object]]) -> Callable[[Exchange], str]:
    template = "\t".join([f"{label}:%s" for label in labels])  # a label has no per cent sign

    def line(exchange: Exchange) -> str:
        texts = [str(get(exchange) or "-") for get in getters]
        if not "".join(texts).isprintable():
            texts = [escape(text) for text in texts]
        return template % tuple(texts)

    return line


def _json_format(labels: Sequence[str], getters: Sequence[Callable[[Exchange], object]]) -> Callable[[Exchange], str]:
    pairs = list(zip(labels, getters, strict=True))

    def line(exchange: Exchange) -> str:
        return _json({label: get(exchange) for label, get in pairs})

    return line


def _noted(index: int) -> Callable[[Exchange], object]:
    return lambda exchange: exchange.noted[index] if exchange.noted else ""


def _reader(name: str) -> Callable[[Request], str] | None:
    """Return the function that reads the field from a request; None for a field of the response."""
    if name == "query":
        return lambda request: request.received.target.partition("?")[2]
    if name == "scheme":
        return client_scheme
    if name == "tls":
        return lambda request: request.received.tls.version if request.received.tls is not None else ""
    if not name.startswith("request."):
        return None
    key = name.removeprefix("request.").lower()
    return lambda request: _of_header(key, request.received.field(key))


def _of_header(key: str, value: str) -> str:
    return without_query(value).partition("#")[0] if key in _URLS else value


def _bounded(value: str) -> str:
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
