"""The inspector of `gproxy dev`: the last requests, one in full, copies of it, and a request that is sent again.

Only clients on this machine see it: it shows bodies, tokens and cookies.
"""

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from difflib import unified_diff
from pkgutil import resolve_name
from typing import Any, Final

import gevent

from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.http.trust import is_local
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call
from gproxy.monitor.gathered.inspected import MOST, Entry, InspectedRequests, summary
from gproxy.monitor.own_request import BodyNotKeptError, OwnRequest, send

#: What a request can be copied as: MODULE:NAME of a function of (entry, settings), and the media type.
COPIES: Final[Mapping[str, tuple[str, str]]] = {
    "curl": ("gproxy.dev.curl_writer:curl", "text/plain; charset=utf-8"),
    "pytest": ("gproxy.dev.pytest_writer:pytest_test", "text/x-python; charset=utf-8"),
}
#: The most bytes of a body that is shown without its compression.
_MOST_DECODED: Final = 256 * 1024
#: Seconds that a worker may take to feed a request that was sent again.
_FEED: Final = 1.0
#: The most lines of the error log that are looked through.
_MOST_LINES: Final = 1000
#: The fields of an entry that no answer has.
_INTERNAL: Final = frozenset({"bodies", "started", "ended", "omitted", "size"})
_WBITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def admit(call: Call) -> None:
    """Admit clients on this machine. Raises HTTPError 403 for others."""
    if not is_local(call.request.received.peer):
        raise HTTPError(403, "the inspector shows bodies and tokens; it is for clients on the same machine")


class Inspector:
    """The answers of the inspector, about the requests that are kept."""

    def __init__(self, kept: InspectedRequests) -> None:
        self._kept = kept

    def requests(self, call: Call) -> dict[str, Any]:
        """Return the requests, newest first, without heads and bodies. Raises HTTPError 403."""
        admit(call)
        return {"requests": [summary(entry) for entry in self._kept.last()], "omitted": self._kept.omitted}

    def request(self, call: Call) -> dict[str, Any]:
        """Return one request with all that is known of it. Raises HTTPError 403 or 404."""
        admit(call)
        entry = self._entry(call)
        return {**full(entry), "log": _log_of(call, entry)}

    def copy(self, call: Call) -> Response:
        """Return the request as a command or as a test. Raises HTTPError 409 if that cannot be written."""
        admit(call)
        entry = self._entry(call)
        place, media_type = COPIES[call.values.get("as", "curl")]
        write: Callable[[Entry, Any], str] = resolve_name(place)
        lines = [one["message"] for one in _log_of(call, entry)]
        try:
            text = write({**entry, "log": lines}, call.gateway.settings)
        except ValueError as error:
            raise HTTPError(409, str(error)) from None
        return Response(200, text.encode("utf-8", "surrogatepass"), {"Content-Type": media_type})

    def send(self, call: Call) -> dict[str, Any]:
        """Send the request again, with what the call changes, and return the status of its response.

        Raises HTTPError: 400 for what cannot be sent, 409 without the whole body, 502 if the gateway does not answer.
        """
        admit(call)
        entry, values = self._entry(call), call.values
        before = self._kept.last()[0]["number"]
        try:
            own = OwnRequest.of(entry, values)
        except BodyNotKeptError as error:
            raise HTTPError(409, str(error)) from None
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        audit.record(call, f"request sent again: {own.method} {own.target.partition('?')[0]}")
        try:
            status, headers = send(own, call.gateway.settings)
        except ValueError as error:
            raise HTTPError(409, str(error)) from None
        except OSError as error:
            raise HTTPError(502, f"the gateway does not answer: {error}") from None
        return {"status": status, "number": self._number(call, headers, before)}

    def clear(self, call: Call) -> dict[str, Any]:
        """Forget all requests."""
        admit(call)
        count = self._kept.clear()
        audit.record(call, "inspected requests forgotten", count, 0)
        return {"forgotten": count}

    def _entry(self, call: Call) -> Entry:
        text = call.values["number"]
        number = int(text) if text.isdecimal() and len(text) < 10 else 0
        entry = self._kept.of_number(number)
        if entry is None:
            newest = self._kept.newest
            why = f" yet; the newest is {newest}" if number > newest else f"; it keeps the last {MOST} only"
            raise HTTPError(404, f"the inspector has no request {text[:20]}{why}")
        return entry

    def _number(self, call: Call, headers: Mapping[str, str], before: int) -> int | None:
        """Return the number of the request that was just sent, once its worker has fed it; None without its id."""
        identity = headers.get(call.gateway.settings.gateway.id_header.lower(), "")
        with gevent.Timeout(_FEED, False):
            while identity:
                found = self._kept.of_id(identity, before)
                if found is not None:
                    number: int = found["number"]
                    return number
                gevent.sleep(0.02)
        return None


def full(entry: Entry) -> dict[str, Any]:
    """Return all fields of an entry as JSON has them."""
    bodies = entry["bodies"]
    shown = {name: value for name, value in entry.items() if name not in _INTERNAL}
    shown["entry"] = _changes(entry["entry"])
    shown["steps"] = [{**one, "down": _changes(one["down"]), "up": _changes(one["up"])} for one in entry["steps"]]
    shown["request"] = _message(entry["request"], bodies)
    shown["response"] = _message(entry["response"], bodies) if entry["response"] is not None else None
    shown["attempts"] = [
        {**one, "request": _message(one["request"], bodies), "response": _message(one["response"], bodies)}
        for one in entry["attempts"]
    ]
    shown["changed_by"] = summary(entry)["changed_by"]
    return shown


def _log_of(call: Call, entry: Entry) -> list[dict[str, str]]:
    """Return the lines of the error log about a request."""
    found = [one for one in call.gateway.logs.errors.last(_MOST_LINES) if one.get("request_id") == entry["id"]]
    return [{"level": str(one.get("level", "")), "message": str(one.get("message", ""))} for one in found]


def _message(message: Mapping[str, Any] | None, bodies: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return a request or a response with its body."""
    if message is None:
        return None
    place = message["body"]
    coding = next((value for name, value in message["headers"] if name.lower() == "content-encoding"), "")
    return {**message, "body": _body(bodies[place], coding) if place is not None else None}


def _body(body: Mapping[str, Any], coding: str) -> dict[str, Any]:
    """Return a body: as text if it is one, without its compression if possible, else in base64."""
    data = body["data"]
    decoded = _decoded(data, coding.strip().lower())
    text = _text(data if decoded is None else decoded)
    return {
        "size": body["size"],
        "is_whole": body["is_whole"],
        "kept": len(data),
        "text": text,
        "base64": base64.b64encode(data).decode() if text is None else None,
        "decoded_from": coding if decoded is not None else None,
    }


def _decoded(data: bytes, coding: str) -> bytes | None:
    if coding not in _WBITS:
        return None
    try:
        return zlib.decompressobj(_WBITS[coding]).decompress(data, _MOST_DECODED)
    except zlib.error:
        return None


def _text(data: bytes) -> str | None:
    """Return the data as text; None for what is none. A cut may have split the last character."""
    for end in range(len(data), max(len(data) - 4, -1), -1):
        try:
            text = data[:end].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def _changes(changes: list[Any]) -> list[dict[str, Any]]:
    """Return changes with the lines of a difference for bodies."""
    found = []
    for part, before, after in changes:
        one = {"part": part, "before": before, "after": after}
        if part == "body" and before is not None and after is not None:
            old, new = _lines(before), _lines(after)
            one["diff"] = [line for line in unified_diff(old, new, n=2, lineterm="") if line[:3] not in {"---", "+++"}]
        found.append(one)
    return found


def _lines(text: str) -> list[str]:
    """Return the lines of a text; JSON has a line for each of its values."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return text.splitlines()
