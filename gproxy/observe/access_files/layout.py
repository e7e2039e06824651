"""The layout of access lines: which fields a line of each format has, and where.

All of a line is checked by one pattern. A block of lines is taken by one call, if each of its lines has the layout.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gproxy.config.types.access_log import DEFAULT_FIELDS, FURTHER_FIELDS, NUMBER_FIELDS
from gproxy.observe.log import escape, escape_word

#: The values of one line in the order of its fields, as they are written; the last one is empty.
Row = tuple[bytes, ...]
#: The name of the whole line among the fields that are wanted of it.
LINE: Final = ""

_COMBINED: Final = ("client", "user", "time", "method", "path", "protocol", "status", "size", "referer", "ua")
_WORDS: Final = frozenset({"client", "user"})
_KNOWN: Final = frozenset({*DEFAULT_FIELDS, *FURTHER_FIELDS})
_HEADERS: Final = ("request.", "response.")
#: The forms of numbers; `apptime` may be missing.
_INTEGER: Final = rb"[0-9]+"
_NUMBER: Final = rb"[0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?"
_NUMBERS: Final = {"duration": _NUMBER, "apptime": rb"(?:%b|-|null)" % _NUMBER}
_QUICK: Final = rb'[^"]*'
#: A text in quotes with escapes. The quick form has none, so that a match of it is a match of this one.
_QUOTED: Final = rb'[^"\\\n]*(?:\\.[^"\\\n]*)*'
_unescape: Final = re.compile(r"\\([\\\"])").sub


@dataclass(frozen=True, slots=True)
class Layout:
    """The format of a line, and the names of its fields in their order."""

    format: str
    names: tuple[str, ...]

    def pattern(self, wanted: frozenset[str], *, is_quick: bool = False) -> re.Pattern[bytes]:
        """Return the pattern of a whole line, with a group for each wanted field, and an empty one at the end.

        The quick pattern is faster, and does not match lines with escaped quotes.
        """
        return _pattern(self, wanted, is_quick)

    def columns(self, wanted: frozenset[str]) -> dict[str, int]:
        """Return the places of the wanted fields in a row, of those that the line has."""
        found = [name for name in (LINE, *self.names) if name in wanted]
        return {name: place for place, name in enumerate(found)}

    def write(self, name: str, value: str) -> bytes:
        """Return the value of a field as a line has it."""
        if self.format == "json":
            return value.encode() if name in NUMBER_FIELDS else json.dumps(value)[1:-1].encode()
        if self.format == "combined":
            value = escape_word(value) if name in _WORDS else value.replace("\\", "\\\\").replace('"', '\\"')
        return escape(value).encode("utf-8", "backslashreplace") or b"-"

    def read(self, name: str, raw: bytes) -> str | float | None:
        """Return the value of a field: a number, None for a number that is missing, or a text, which may be empty."""
        if name in NUMBER_FIELDS:
            return json.loads(raw) if raw not in (b"-", b"null", b"") else None
        if self.format == "json":
            return str(json.loads(b'"%b"' % raw))
        text = raw.decode("utf-8", "replace")
        return "" if text == "-" else _unescape(r"\1", text) if self.format == "combined" else text

    def found_by(self, name: str, value: str, *, is_whole: bool) -> bytes | None:
        """Return bytes that a line has if the field has the value, or begins with it; None: too many lines have them.

        Lines with these bytes at another place are possible.
        """
        raw = self.write(name, value)
        if self.format == "combined":
            return b'" ' + raw if name == "status" else raw if len(value) > 2 else None
        if not value or name == self.names[0]:
            return None
        if self.format == "json":
            quote = b"" if name in NUMBER_FIELDS else b'"'
            return b'"%b":%b%b%b' % (name.encode(), quote, raw, quote if is_whole else b"")
        end = b"\t" if is_whole and name != self.names[-1] else b""
        return b"\t%b:%b%b" % (name.encode(), raw, end)


def layout_of(line: bytes) -> Layout | None:
    """Return the layout of a line; None for a line that is no access line, or only a part of one."""
    if line.startswith(b"{"):
        layout = Layout("json", _names_of_json(line))
    else:
        names = tuple(piece.partition(b":")[0].decode("latin-1") for piece in line.split(b"\t"))
        is_ltsv = names[0] in _KNOWN or names[0].startswith(_HEADERS)
        layout = Layout("ltsv", names) if is_ltsv else Layout("combined", _COMBINED)
    names = layout.names
    is_known = names and all(name in _KNOWN or name.startswith(_HEADERS) for name in names)
    if not is_known or len(set(names)) < len(names):
        return None
    return layout if layout.pattern(frozenset()).fullmatch(line) else None


def _names_of_json(line: bytes) -> tuple[str, ...]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ()
    return tuple(found)


@lru_cache(maxsize=256)
def _pattern(layout: Layout, wanted: frozenset[str], is_quick: bool) -> re.Pattern[bytes]:
    forms = {"ltsv": _ltsv, "json": _json, "combined": _combined}
    body = forms[layout.format](layout.names, wanted, _QUICK if is_quick else _QUOTED)
    return re.compile(rb"^%b()$" % (b"(%b)" % body if LINE in wanted else body), re.MULTILINE)


def _ltsv(names: Sequence[str], wanted: frozenset[str], _: bytes) -> bytes:
    pieces = []
    for name in names:
        # [^\t] is matched faster than [^\t\n]. A match that crosses the end of a line lacks a line, which is noticed.
        value = rb"[^\t]*" if name != names[-1] else rb"[^\t\n]*"
        if name in NUMBER_FIELDS:
            value = _NUMBERS.get(name, _INTEGER)
        elif name == "time":
            value = rb"[^\t\n]{29}"
        pieces.append(re.escape(name.encode()) + b":" + _group(name, value, wanted))
    return rb"\t".join(pieces)


def _json(names: Sequence[str], wanted: frozenset[str], text: bytes) -> bytes:
    pieces = []
    for name in names:
        value = b'"%b"' % _group(name, rb'[^"\n]{29}' if name == "time" else text, wanted)
        if name in NUMBER_FIELDS:
            value = _group(name, _NUMBERS.get(name, _INTEGER), wanted)
        pieces.append(b'"%b":%b' % (re.escape(name.encode()), value))
    return rb"\{" + b",".join(pieces) + rb"\}"


def _combined(_: Sequence[str], wanted: frozenset[str], text: bytes) -> bytes:
    forms = {"time": rb"[^\]\n]{26}", "status": rb"[0-9]+", "size": rb"[0-9]+"}
    forms |= dict.fromkeys(("referer", "ua", "protocol"), text)
    forms |= dict.fromkeys(("client", "user"), rb"[^ \n]+") | dict.fromkeys(("method", "path"), rb'[^ "\n]*')
    if text is _QUOTED:
        forms["path"] = rb'[^ "\\\n]*(?:\\.[^ "\\\n]*)*'
    group = {name.encode(): _group(name, form, wanted) for name, form in forms.items()}
    request = b"%(method)b %(path)b %(protocol)b" % group
    # Bytes that are no request have no method: "-".
    group[b"request"] = request if text is _QUICK else b"(?:-|%b)" % request
    return rb'%(client)b - %(user)b \[%(time)b\] "%(request)b" %(status)b %(size)b "%(referer)b" "%(ua)b"' % group


def _group(name: str, form: bytes, wanted: frozenset[str]) -> bytes:
    return b"(%b)" % form if name in wanted else form
