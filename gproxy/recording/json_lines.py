"""Recorded exchanges in a file: JSON lines, as docs/recording.md describes them."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, cast

from gproxy.recording.record import (
    VERSION,
    Fields,
    RecordedAttempt,
    RecordedBody,
    RecordedExchange,
    RecordedRequest,
    RecordedResponse,
    RecordHeader,
)

#: The key of a recording's first line, with the version of the format.
MARK: Final = "gproxy-record"
#: The longest line in bytes.
LONGEST: Final = 64 * 1024 * 1024
#: The value of a body that is the same as the one it is compared with: the client's.
_SAME: Final = {"same": True}

#: What reading raises for JSON that is no exchange.
NO_EXCHANGE: Final = (ValueError, TypeError, LookupError, AttributeError, OverflowError)


class RecordError(Exception):
    """A recording that cannot be read: `PLACE: what is wrong`."""


def header_json(header: RecordHeader) -> dict[str, Any]:
    """Return what becomes JSON of a header."""
    return {
        MARK: header.version,
        "created": header.created,
        "gproxy": header.gproxy,
        "settings": header.settings,
        "rule": dict(header.rule),
        "redacted": dict(header.redacted),
    }


def header_of(content: Mapping[str, Any]) -> RecordHeader:
    """Return the header. Raises ValueError or TypeError for what is none."""
    version = content.get(MARK)
    if not isinstance(version, int):
        raise TypeError(f"no recording; expected a first line with {MARK!r}")
    if version > VERSION:
        raise ValueError(f"version {version} of the format; this gproxy knows {VERSION}")
    return RecordHeader(
        created=float(content.get("created", 0)),
        gproxy=str(content.get("gproxy", "")),
        settings=str(content.get("settings", "")),
        rule=dict(content.get("rule", {})),
        redacted=dict(content.get("redacted", {})),
        version=version,
    )


def header_line(header: RecordHeader) -> bytes:
    """Return the first line of a recording."""
    return _line(header_json(header))


def exchange_line(exchange: RecordedExchange) -> bytes:
    """Return the line of an exchange."""
    return _line(to_json(exchange))


def to_json(one: RecordedExchange) -> dict[str, Any]:
    """Return what becomes JSON of an exchange; empty values are omitted."""
    response = one.response
    content: dict[str, Any] = {
        "id": one.id,
        "time": one.time,
        "duration": _seconds(one.duration),
        "paused": _seconds(one.paused),
        "worker": one.worker,
        "generation": one.generation,
        "client": one.client,
        "scheme": one.scheme,
        "host": one.host,
        "user": one.user,
        "auth": one.auth,
        "route": one.route,
        "upstream": one.upstream,
        "backend": one.backend,
        "status": one.status,
        "reason": one.reason,
        "report": one.report,
        "request": _request(one.request, None),
        "attempts": [_attempt(attempt, one) for attempt in one.attempts],
        "omitted_attempts": one.omitted_attempts,
        "response": None if response is None else _response(response, None),
    }
    return {name: value for name, value in content.items() if value not in ("", None, 0, [])}


def from_json(content: Mapping[str, Any]) -> RecordedExchange:
    """Return the exchange. Raises one of NO_EXCHANGE for what is none."""
    request = _read_request(content["request"], None)
    response = _read_response(content["response"], None) if content.get("response") else None
    plain = {name: kind(content[name]) for name, kind in _PLAIN.items() if content.get(name) is not None}
    exchange = RecordedExchange(**{**_BLANK, **plain}, request=request, response=response)
    exchange.attempts = [_read_attempt(one, exchange) for one in content.get("attempts", ())]
    return exchange


class Recording:
    """The recorded exchanges of a file, compressed or not; a context manager, to iterate over once.

    Raises RecordError, and OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = opened(path)
        self._number = 0
        try:
            self.header = self._header()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[RecordedExchange]:
        for content in self._lines():
            try:
                yield from_json(content)
            except NO_EXCHANGE as error:
                raise self._error(f"no recorded exchange: {type(error).__name__}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _header(self) -> RecordHeader:
        try:
            return header_of(next(self._lines(), {}))
        except (ValueError, TypeError) as error:
            raise self._error(str(error)) from None

    def _lines(self) -> Iterator[dict[str, Any]]:
        while line := self._next():
            self._number += 1
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise self._error(f"no JSON: {error}" if line.endswith(b"\n") else "the last line is cut off") from None
            if not isinstance(content, dict):
                raise self._error("expected a JSON object")
            yield content

    def _next(self) -> bytes:
        try:
            line = self._file.readline(LONGEST)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._error(f"the compressed file is cut off or damaged: {error}") from None
        if len(line) == LONGEST:
            raise self._error(f"a line of more than {LONGEST} bytes")
        return line

    def _error(self, text: str) -> RecordError:
        return RecordError(f"{self._path}:{max(self._number, 1)}: {text}")


def opened(path: Path) -> BinaryIO:
    """Open a file, and decompress it if it is compressed."""
    file = path.open("rb")
    if file.peek(2)[:2] != b"\x1f\x8b":
        return file
    file.close()
    return cast(BinaryIO, gzip.open(path))


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _seconds(value: float) -> float:
    return round(value, 6)


def _attempt(one: RecordedAttempt, exchange: RecordedExchange) -> dict[str, Any]:
    body = exchange.response.body if exchange.response is not None else None
    content = {
        "upstream": one.upstream,
        "backend": one.backend,
        "started": _seconds(one.started),
        "duration": _seconds(one.duration),
        "error": one.error,
        "shared": one.shared or None,
        "request": None if one.request is None else _request(one.request, exchange.request.body),
        "response": None if one.response is None else _response(one.response, body),
    }
    return {name: value for name, value in content.items() if value not in ("", None)}


def _request(one: RecordedRequest, same: RecordedBody | None) -> dict[str, Any]:
    content = {"method": one.method, "target": one.target, "protocol": one.protocol}
    return {**content, **_rest(one.headers, one.body, one.trailers, same)}


def _response(one: RecordedResponse, same: RecordedBody | None) -> dict[str, Any]:
    return {"status": one.status, **_rest(one.headers, one.body, one.trailers, same)}


def _rest(headers: Fields, body: RecordedBody | None, trailers: Fields, same: RecordedBody | None) -> dict[str, Any]:
    content: dict[str, Any] = {"headers": [list(one) for one in headers]}
    if body is not None:
        content["body"] = _SAME if body == same else _body(body)
    if trailers:
        content["trailers"] = [list(one) for one in trailers]
    return content


def _body(body: RecordedBody) -> dict[str, Any]:
    content: dict[str, Any] = {"size": body.size}
    if body.omitted:
        return {**content, "omitted": body.omitted}
    try:
        content["text"] = body.data.decode()
    except ValueError:
        content["base64"] = base64.b64encode(body.data).decode()
    return {**content, "truncated": True} if body.truncated else content


def _read_attempt(content: Mapping[str, Any], exchange: RecordedExchange) -> RecordedAttempt:
    request, response = content.get("request"), content.get("response")
    body = exchange.response.body if exchange.response is not None else None
    return RecordedAttempt(
        upstream=str(content.get("upstream", "")),
        backend=str(content.get("backend", "")),
        started=float(content.get("started", 0)),
        duration=float(content.get("duration", 0)),
        error=str(content.get("error", "")),
        shared=bool(content.get("shared", False)),
        request=_read_request(request, exchange.request.body) if request else None,
        response=_read_response(response, body) if response else None,
    )


def _read_request(content: Mapping[str, Any], same: RecordedBody | None) -> RecordedRequest:
    return RecordedRequest(
        method=str(content["method"]),
        target=str(content["target"]),
        protocol=str(content.get("protocol", "HTTP/1.1")),
        headers=_read_fields(content["headers"]),
        body=_read_body(content.get("body"), same),
        trailers=_read_fields(content.get("trailers", ())),
    )


def _read_response(content: Mapping[str, Any], same: RecordedBody | None) -> RecordedResponse:
    return RecordedResponse(
        status=int(content["status"]),
        headers=_read_fields(content["headers"]),
        body=_read_body(content.get("body"), same),
        trailers=_read_fields(content.get("trailers", ())),
    )


def _read_fields(lines: Sequence[Sequence[str]]) -> Fields:
    return [(str(name), str(value)) for name, value in lines]


def _read_body(content: Mapping[str, Any] | None, same: RecordedBody | None) -> RecordedBody | None:
    if content is None or "same" in content:
        return same if content is not None else None
    is_text, packed = "text" in content, content.get("base64", "")
    data = str(content["text"]).encode() if is_text else base64.b64decode(packed, validate=True)
    size = int(content.get("size", len(data)))
    return RecordedBody(data, size, bool(content.get("truncated", False)), str(content.get("omitted", "")))


#: The plain values of an exchange, by the types that they have.
_PLAIN: Final[Mapping[str, type]] = {
    "id": str, "time": float, "duration": float, "client": str, "scheme": str, "host": str, "route": str, "user": str,
    "auth": str, "upstream": str, "backend": str, "status": int, "reason": str, "report": str, "paused": float,
    "worker": int, "generation": int, "omitted_attempts": int,
}  # fmt: skip
#: The values of those that are omitted because they are empty.
_BLANK: Final[Mapping[str, Any]] = {name: kind() for name, kind in _PLAIN.items()}
