"""HTTP Archive (HAR 1.2) as a form of a recording: browsers and other tools read it, and write such files."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from gproxy import __version__
from gproxy.http.response import PHRASES
from gproxy.recording.json_lines import (
    MARK,
    NO_EXCHANGE,
    RecordError,
    Recording,
    from_json,
    header_json,
    header_of,
    opened,
    to_json,
)
from gproxy.recording.record import (
    Fields,
    RecordedBody,
    RecordedExchange,
    RecordedRequest,
    RecordedResponse,
    RecordHeader,
)

#: The field of a log, an entry or a part that has what HAR does not know; such names begin with an underscore.
_OWN: Final = "_gproxy"
#: The bytes by whose content a file is taken for an archive.
_BEGINNING: Final = 1024
_NO_COOKIES: Final[list[Any]] = []
_CONTENT_TYPE: Final = "content-type"


def archive_beginning(header: RecordHeader) -> bytes:
    """Return the beginning of an archive: all before its first entry."""
    creator = {"name": "gproxy", "version": __version__}
    content = {"log": {"version": "1.2", "creator": creator, _OWN: header_json(header), "entries": []}}
    return json.dumps(content, indent=1).encode().removesuffix(b"]\n }\n}")


def archive_entry(exchange: RecordedExchange, *, is_first: bool) -> bytes:
    """Return the text of an entry, with what separates it from the one before."""
    return (b"\n" if is_first else b",\n") + json.dumps(_entry(exchange)).encode()


def archive_end() -> bytes:
    """Return the end of an archive."""
    return b"\n]\n }\n}\n"


class Archive:
    """The exchanges of an archive; iterate over it once, as over a Recording. Raises RecordError and OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with opened(path) as file:
                log = json.loads(file.read())["log"]
            self._entries: list[Mapping[str, Any]] = list(log["entries"])
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise RecordError(f"{path}: the compressed file is cut off or damaged: {error}") from None
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise RecordError(f"{path}: no HTTP Archive: {type(error).__name__}: {error}") from None
        try:
            self.header = header_of(log.get(_OWN) or {MARK: 1})
        except (ValueError, TypeError, LookupError) as error:
            raise RecordError(f"{path}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the file is read whole."""

    def __iter__(self) -> Iterator[RecordedExchange]:
        for number, entry in enumerate(self._entries, 1):
            try:
                yield from_json(entry[_OWN]) if _OWN in entry else _exchange(entry)
            except NO_EXCHANGE as error:
                raise RecordError(f"{self._path}: entry {number}: {type(error).__name__}: {error}") from None


def open_recording(path: Path) -> "Recording | Archive":
    """Return the recording or the archive in the file. Raises RecordError and OSError."""
    try:
        with opened(path) as file:
            begin = file.read(_BEGINNING)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        begin = b""
    is_archive = b'"log"' in begin and begin.find(f'"{MARK}"'.encode()) not in range(begin.find(b'"log"'))
    return Archive(path) if is_archive else Recording(path)


def _entry(exchange: RecordedExchange) -> dict[str, Any]:
    request, response = exchange.request, exchange.response
    waited = sum(one.duration for one in exchange.attempts) * 1000
    total = exchange.duration * 1000
    return {
        "startedDateTime": datetime.fromtimestamp(exchange.time, UTC).isoformat(),
        "time": round(total, 3),
        "request": _request(request, exchange),
        "response": _response(response),
        "cache": {},
        "timings": {"send": 0, "wait": round(min(waited, total), 3), "receive": round(max(total - waited, 0), 3)},
        "connection": exchange.backend,
        _OWN: to_json(exchange),
    }


def _request(one: RecordedRequest, exchange: RecordedExchange) -> dict[str, Any]:
    query = one.target.partition("?")[2]
    content: dict[str, Any] = {
        "method": one.method,
        "url": f"{exchange.scheme}://{exchange.host}{one.target}",
        "httpVersion": one.protocol,
        "cookies": _NO_COOKIES,
        "headers": _pairs(one.headers),
        "queryString": _pairs(parse_qsl(query, keep_blank_values=True)),
        "headersSize": -1,
        "bodySize": 0 if one.body is None else one.body.size,
    }
    if one.body is not None:
        text, is_text = _text(one.body.data)
        content["postData"] = {"mimeType": _first(one.headers, _CONTENT_TYPE), "text": text}
        if not is_text:
            content["postData"]["_encoding"] = "base64"
    return content


def _response(one: RecordedResponse | None) -> dict[str, Any]:
    if one is None:  # HAR has 0 for a request without a response
        one = RecordedResponse(0, [])
    text, is_text = _text(one.body.data if one.body is not None else b"")
    content = {
        "size": one.body.size if one.body is not None else 0,
        "mimeType": _first(one.headers, _CONTENT_TYPE),
        "text": text,
    }
    return {
        "status": one.status,
        "statusText": PHRASES.get(one.status, ""),
        "httpVersion": "HTTP/1.1",
        "cookies": _NO_COOKIES,
        "headers": _pairs(one.headers),
        "content": content if is_text else {**content, "encoding": "base64"},
        "redirectURL": _first(one.headers, "location"),
        "headersSize": -1,
        "bodySize": content["size"],
    }


def _pairs(pairs: Fields) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _first(fields: Fields, key: str) -> str:
    return next((value for name, value in fields if name.lower() == key), "")


def _text(data: bytes) -> tuple[str, bool]:
    try:
        return data.decode(), True
    except ValueError:
        return base64.b64encode(data).decode(), False


def _exchange(entry: Mapping[str, Any]) -> RecordedExchange:
    """Return the exchange of an entry that another tool has written."""
    asked, answered = entry["request"], entry["response"]
    url = urlsplit(str(asked["url"]))
    if url.scheme not in {"http", "https", "ws", "wss"}:
        raise ValueError(f"url: expected one of HTTP; found {url.geturl()!r}")
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    response = None
    if int(answered["status"]):
        response = RecordedResponse(int(answered["status"]), _read_fields(answered["headers"]), _content(answered))
    request = RecordedRequest(str(asked["method"]), target, _read_fields(asked["headers"]), _post_data(asked))
    if url.netloc and not _first(request.headers, "host"):
        request.headers.insert(0, ("Host", url.netloc.rpartition("@")[2]))
    return RecordedExchange(
        id="",
        time=datetime.fromisoformat(str(entry["startedDateTime"])).timestamp(),
        duration=max(float(entry.get("time") or 0), 0) / 1000,
        client="",
        scheme=url.scheme,
        host=url.netloc.rpartition("@")[2],
        route="",
        request=request,
        response=response,
        status=0 if response is None else response.status,
    )


def _read_fields(pairs: list[Mapping[str, str]]) -> Fields:
    """Return the fields; a browser adds those of HTTP/2 that begin with a colon."""
    return [(str(one["name"]), str(one["value"])) for one in pairs if not str(one["name"]).startswith(":")]


def _post_data(asked: Mapping[str, Any]) -> RecordedBody | None:
    data = asked.get("postData")
    if not data:
        return None
    text = str(data.get("text", ""))
    return RecordedBody.of(base64.b64decode(text) if data.get("_encoding") == "base64" else text.encode())


def _content(answered: Mapping[str, Any]) -> RecordedBody | None:
    content = answered.get("content") or {}
    if "text" not in content:
        return None
    text = str(content["text"])
    return RecordedBody.of(base64.b64decode(text) if content.get("encoding") == "base64" else text.encode())
