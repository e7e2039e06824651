"""The redaction of bodies: values of forms always become pseudonyms, parts of JSON by the rules of `--redact`."""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from gproxy.recording.pseudonyms import Pseudonyms
from gproxy.recording.record import Fields, RecordedBody

_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
#: The most bytes that a compressed body may have when it is decoded: a few of them would else block the loop for long.
_MOST_DECODED: Final = 256 * 1024
_STEP: Final = re.compile(
    r"\.\.(?P<deep>[\w-]+)|\.(?P<name>[\w-]+)|(?P<any>\.\*|\[\*\])|\[(?P<index>\d+)\]|\['(?P<quoted>[^']+)'\]"
)
#: A step of a path: its kind, and its name or number.
_Step = tuple[str, str]


class BodyRedaction:
    """The redaction of bodies. `hide_query` hides the values of a form. Raises ValueError for a wrong rule.

    A form in several parts (`multipart/form-data`) is omitted: what looks like the head of a part may be a value.
    With rules for JSON, a body that cannot be searched for the parts is omitted: one that is truncated, no JSON, or
    compressed in a way that is not decoded here.
    """

    def __init__(self, pseudonyms: Pseudonyms, rules: Sequence[str], hide_query: Callable[[str], str]) -> None:
        self._pseudonyms = pseudonyms
        self._paths = [_steps(rule) for rule in rules]
        self._hide_query = hide_query
        #: The bodies of the present exchange that were redacted: most pass unchanged, and so occur twice.
        self._done: dict[tuple[RecordedBody, str, str], RecordedBody] = {}

    def begin(self) -> None:
        """Begin with the next exchange."""
        self._done.clear()

    def apply(self, body: RecordedBody, headers: Fields) -> RecordedBody:
        """Return the body that may be recorded."""
        if not body.data:
            return body
        kind = _value(headers, "content-type").lower()
        if _MULTIPART in kind:
            return RecordedBody(size=body.size, truncated=True, omitted="a form in several parts")
        is_form = _FORM in kind
        if not is_form and not self._paths:
            return body
        key = body, kind, _value(headers, "content-encoding").strip().lower()
        if key not in self._done:
            self._done[key] = self._redacted(body, key[2], is_form=is_form)
        return self._done[key]

    def _redacted(self, body: RecordedBody, coding: str, *, is_form: bool) -> RecordedBody:
        try:
            data = _decoded(body, coding)
            redacted = self._form(data) if is_form else self._json(data, body)
        except _UnsearchableError as error:
            return RecordedBody(size=body.size, truncated=True, omitted=str(error))
        encoded = _encoded(redacted, coding)
        return RecordedBody(encoded, body.size, body.truncated)

    def _form(self, data: bytes) -> bytes:
        return self._hide_query(data.decode("latin-1")).encode("latin-1")

    def _json(self, data: bytes, body: RecordedBody) -> bytes:
        if body.truncated:
            raise _UnsearchableError("truncated, so --redact cannot find its parts")
        try:
            value = json.loads(data)
            for path in self._paths:
                value = self._hidden(value, path)
            return json.dumps(value, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            raise _UnsearchableError("no JSON, so --redact cannot find its parts") from None

    def _hidden(self, value: Any, path: Sequence[_Step]) -> Any:  # noqa: ANN401 any JSON
        """Return the value without what the path leads to. A name leads into each item of a list, too."""
        if not path:
            return self._pseudonym(value)
        (kind, word), *rest = path
        if isinstance(value, list):
            if kind == "index":
                return [self._hidden(one, rest) if str(place) == word else one for place, one in enumerate(value)]
            return [self._hidden(one, rest if kind == "any" else path) for one in value]
        if not isinstance(value, dict):
            return value
        if kind == "any":
            return {name: self._hidden(one, rest) for name, one in value.items()}
        if kind == "deep":
            value = {name: self._hidden(one, path) for name, one in value.items()}
        return {name: self._hidden(one, rest) if name == word else one for name, one in value.items()}

    def _pseudonym(self, value: Any) -> Any:  # noqa: ANN401 any JSON
        if value is None:
            return None
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        return self._pseudonyms.of(text)


class _UnsearchableError(Exception):
    """A body in which the parts to hide cannot be found; the message says why."""


def _steps(rule: str) -> list[_Step]:
    """Return the steps of a rule. Raises ValueError."""
    path, steps, place = rule.removeprefix("json:"), [], 1
    while match := _STEP.match(path, place):
        kind = str(match.lastgroup)
        steps.append(("name" if kind == "quoted" else kind, match[kind]))
        place = match.end()
    if not rule.startswith("json:$") or place != len(path) or not steps:
        raise ValueError(
            f"expected json:$.NAME, with .NAME, ..NAME, ['NAME'], [*] or [0] as further steps, or path:/PATH/*; "
            f"found {rule!r}"
        )
    return steps


def _value(headers: Fields, key: str) -> str:
    return ", ".join(value for name, value in headers if name.lower() == key)


def _decoded(body: RecordedBody, coding: str) -> bytes:
    """Return the data without its coding. Raises _UnsearchableError."""
    if coding in {"", "identity"}:
        return body.data
    if coding not in {"gzip", "x-gzip"} or body.truncated:
        raise _UnsearchableError(f"compressed ({coding}), so its parts cannot be found")
    decoder = zlib.decompressobj(wbits=31)
    try:
        data = decoder.decompress(body.data, _MOST_DECODED)
    except zlib.error:
        raise _UnsearchableError("no gzip, so its parts cannot be found") from None
    if not decoder.eof or decoder.unused_data:
        raise _UnsearchableError("compressed too far, or cut off, so its parts cannot be found")
    return data


def _encoded(data: bytes, coding: str) -> bytes:
    if coding in {"", "identity"}:
        return data
    encoder = zlib.compressobj(wbits=31)
    return encoder.compress(data) + encoder.flush()
