"""The differences between two bodies: by structure for JSON, by line for text, else by digest."""

import hashlib
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice, zip_longest
from typing import Any, Final, NamedTuple

from gproxy.config.types.units import plural, shortened

#: Kind, the value before, the value after.
Found = tuple[str, str, str]

#: The most differences of one pair of bodies that are reported.
_MOST: Final = 100
#: The most bytes that a compressed body may have when it is decoded.
_MOST_DECODED: Final = 64 * 1024 * 1024
#: The bytes that are decoded at a time, by a decoder that knows no limit.
_PIECE: Final = 1024
#: The longest value in a report, in characters.
_LONGEST: Final = 120
_TEXTS: Final = ("text/", "application/xml", "application/javascript", "application/x-www-form-urlencoded")
_ABSENT: Final = "absent"
_STEP: Final = re.compile(r"\.(?P<name>[\w-]+|\*)|\[(?P<index>\d+|\*)\]|\['(?P<quoted>[^']+)'\]")
_ZSTD: Final = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


class Pair(NamedTuple):
    """Two bodies, or two values of one field: recorded, and of now."""

    before: Any
    after: Any


class Values:
    """The equality of texts. A pseudonym equals any text, which is counted; the ids of both requests are equal."""

    def __init__(self, pseudonym: re.Pattern[str] | None, before_id: str = "", after_id: str = "") -> None:
        self._pseudonym = pseudonym
        self._ids = (before_id, after_id)
        #: The number of texts that could not be compared, because the recording has pseudonyms in their place.
        self.hidden = 0

    def are_equal(self, before: str, after: str) -> bool:
        """Return whether the texts are equal, as far as the recording knows the first one."""
        if before == after:
            return True
        old, new = self._ids
        if old and new and before.replace(old, new) == after:
            return True
        if self._pseudonym is None or not self._pseudonym.search(before) or self._pseudonym.search(after):
            return False
        if not _fits(self._pseudonym.split(before), after):
            return False
        self.hidden += 1
        return True


def _fits(fixed: Sequence[str], text: str) -> bool:
    """Return whether the text begins with the first fixed part, ends with the last one, and has the others between."""
    first, *middle, last = fixed
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:  # the leftmost place leaves the most for the others
        place = text.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True


@dataclass(frozen=True)
class Ignored:
    """The parts that are not compared: header fields by names in lower case, and parts of JSON by their paths."""

    headers: frozenset[str] = frozenset()
    paths: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Ignored":
        """Return what the texts name: `header:NAME` or `json:$.a.b`, several by comma. Raises ValueError."""
        headers, paths = set(), []
        for text in (part.strip() for one in texts for part in one.split(",")):
            kind, _, name = text.partition(":")
            if kind == "header" and name:
                headers.add(name.strip().lower())
            elif kind == "json" and name:
                paths.append(parse_path(name.strip()))
            else:
                raise ValueError(f"expected header:NAME or json:$.PATH; found {text!r}")
        return cls(frozenset(headers), tuple(paths))

    def has(self, path: tuple[str, ...]) -> bool:
        """Return whether the part of JSON at this path is ignored."""
        return any(
            len(one) == len(path) and all(want in ("*", step) for want, step in zip(one, path, strict=True))
            for one in self.paths
        )


def parse_path(text: str) -> tuple[str, ...]:
    """Return the steps of a path such as `$.items[*].price`; `*` is any step. Raises ValueError."""
    steps, place = [], 1
    while text.startswith("$") and (match := _STEP.match(text, place)):
        steps.append(match["name"] or match["index"] or match["quoted"])
        place = match.end()
    if not steps or place != len(text):
        raise ValueError(f"expected a path such as $.items[*].price; found {text!r}")
    return tuple(steps)


def has_json(media: Pair) -> bool:
    """Return whether both media types are JSON."""
    return all(_is_json(one) for one in media)


class BodyDiff:
    """The comparison of the bodies of one exchange."""

    def __init__(self, values: Values, ignored: Ignored) -> None:
        self._values = values
        self._ignored = ignored

    def compare(self, bodies: Pair, media: Pair, codings: Pair) -> Iterator[Found]:
        """Yield the differences, after the bodies are decoded."""
        if bodies.before == bodies.after and codings.before == codings.after:
            return
        bodies = Pair(
            _decoded_if_possible(bodies.before, codings.before), _decoded_if_possible(bodies.after, codings.after)
        )
        if bodies.before == bodies.after:
            return
        yield from islice(self._decoded(bodies, media), _MOST)

    def _decoded(self, bodies: Pair, media: Pair) -> Iterator[Found]:
        if has_json(media):
            with suppress(ValueError, RecursionError):
                yield from list(islice(self._json(json.loads(bodies.before), json.loads(bodies.after), ()), _MOST))
                return
        with suppress(ValueError):
            if all(_is_text(one) for one in media):
                yield from self._lines(bodies.before.decode(), bodies.after.decode())
                return
        yield "body", _digest(bodies.before), _digest(bodies.after)

    def _json(self, before: Any, after: Any, path: tuple[str, ...]) -> Iterator[Found]:  # noqa: ANN401 any JSON
        if self._ignored.has(path):
            return
        if isinstance(before, dict) and isinstance(after, dict):
            for key in [*before, *(key for key in after if key not in before)]:
                yield from self._members(before, after, key, (*path, key))
        elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from self._json(one, other, (*path, str(index)))
        elif not self._are_equal(before, after):
            yield _kind(path), _shown(before), _shown(after)

    def _members(
        self, before: Mapping[str, Any], after: Mapping[str, Any], key: str, path: tuple[str, ...]
    ) -> Iterator[Found]:
        if key in before and key in after:
            yield from self._json(before[key], after[key], path)
        elif not self._ignored.has(path):
            sides = [_shown(one[key]) if key in one else _ABSENT for one in (before, after)]
            yield _kind(path), sides[0], sides[1]

    def _are_equal(self, before: Any, after: Any) -> bool:  # noqa: ANN401 any JSON
        if isinstance(before, str) and isinstance(after, str):
            return self._values.are_equal(before, after)
        if isinstance(before, bool) or isinstance(after, bool):
            return before is after
        if isinstance(before, str) and not isinstance(after, (list, dict)):  # a pseudonym of a number
            return self._values.are_equal(before, json.dumps(after))
        return bool(before == after)

    def _lines(self, before: str, after: str) -> Iterator[Found]:
        lines = zip_longest(before.splitlines(), after.splitlines())
        differing = [
            (number, one, other)
            for number, (one, other) in enumerate(lines, 1)
            if one is None or other is None or not self._values.are_equal(one, other)
        ]
        if differing:
            number, one, other = differing[0]
            first, more = f"line {number}", f" (and {plural(len(differing) - 1, 'further line')})"
            shown = [_ABSENT if text is None else f"{first}: {shortened(text, _LONGEST)}" for text in (one, other)]
            yield "body text", shown[0], shown[1] + (more if len(differing) > 1 else "")
        elif before.splitlines() == after.splitlines():
            yield "body text", _digest(before.encode()), _digest(after.encode())  # only the ends of lines differ


def _kind(path: Sequence[str]) -> str:
    """Return the kind of a difference at a path; all places of a list share one."""
    steps = "".join("[*]" if step.isdigit() else f".{step}" for step in path)
    return f"body ${steps}"


def _shown(value: Any) -> str:  # noqa: ANN401 any JSON
    if isinstance(value, list) and value:
        return f"{shortened(json.dumps(value, ensure_ascii=False), _LONGEST)} ({plural(len(value), 'item')})"
    return shortened(json.dumps(value, ensure_ascii=False), _LONGEST)


def _digest(data: bytes) -> str:
    return f"{plural(len(data), 'byte')}, sha256 {hashlib.sha256(data).hexdigest()[:16]}"


def _media_type(field_value: str) -> str:
    return field_value.partition(";")[0].strip().lower()


def _is_json(field_value: str) -> bool:
    media = _media_type(field_value)
    return media == "application/json" or media.endswith("+json")


def _is_text(field_value: str) -> bool:
    media = _media_type(field_value)
    return media.startswith(_TEXTS) or media.endswith("+xml") or _is_json(field_value)


def _decoded_if_possible(body: bytes, codings: str) -> bytes:
    """Return the body without its content codings, or as it is: a browser's archive has bodies that are decoded."""
    try:
        return _decoded(body, codings)
    except ValueError:
        return body


def _decoded(body: bytes, codings: str) -> bytes:
    """Return the body without its content codings. Raises ValueError if it cannot be decoded, or becomes too long."""
    for name in reversed([one.strip().lower() for one in codings.split(",") if one.strip()]):
        if name == "identity" or not body:
            continue
        decode = _DECODERS.get(name)
        if decode is None:
            raise ValueError(f"content coding {name!r} is unknown")
        try:
            body = decode(body)
        except Exception as error:  # noqa: BLE001 each library has exceptions of its own, and may be absent
            raise ValueError(str(error)) from None
        if len(body) > _MOST_DECODED:
            raise ValueError("the body is too long")
    return body


def _inflated(wbits: int, data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits)
    found = unpacker.decompress(data, _MOST_DECODED + 1)
    return _whole(found, unpacker)


def _whole(found: bytes, unpacker: Any) -> bytes:  # noqa: ANN401 decoders have no common type
    """Return what was found. Raises ValueError if the body is cut off, or goes on: what differs there would be lost."""
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the body is cut off, or does not end with its coding")
    return found


def _brotli(data: bytes) -> bytes:
    unpacker = import_module("brotli").Decompressor()
    pieces, size = [], 0
    for start in range(0, len(data), _PIECE):
        pieces.append(unpacker.process(data[start : start + _PIECE]))
        size += len(pieces[-1])
        if size > _MOST_DECODED:
            break
    if not unpacker.is_finished():
        raise ValueError("the body is cut off")
    return b"".join(pieces)


def _zstd(data: bytes) -> bytes:
    unpacker = import_module(_ZSTD).ZstdDecompressor()
    found = unpacker.decompress(data, _MOST_DECODED + 1)
    return _whole(found, unpacker)


_DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": partial(_inflated, 31),
    "x-gzip": partial(_inflated, 31),
    "deflate": partial(_inflated, 15),
    "br": _brotli,
    "zstd": _zstd,
}
