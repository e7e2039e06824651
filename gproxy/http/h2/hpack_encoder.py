"""Encoding of field blocks (RFC 7541): what repeats on a connection becomes an index, all else travels as it is.

The table is searched by whole HTTP/1.1 lines, as `Headers` keeps them: most fields cost one look-up. A field enters the
table when it is seen again, so values that occur once displace no others.
"""

from collections.abc import Iterable
from typing import Final

from gproxy.http.h2.huffman import encode
from gproxy.http.h2.never_indexed import SECRETS, NeverIndexed
from gproxy.http.h2.tables import STATIC_FIELDS
from gproxy.http.headers import Headers, Line

#: The most that a table holds, whatever the peer allows: the memory that a connection costs us.
_MOST_ROOM: Final = 4096
#: A line has a colon and a blank beside the name and the value, and an entry 32 bytes (RFC 7541 section 4.1).
_ENTRY_OVERHEAD: Final = 32 - 2
#: The number of lines that are remembered to notice those that come again.
_SEEN: Final = 64
#: The number of lines that have an index, in any spelling: a full table, and as many of static fields.
_NUMBERS: Final = 256
#: The number of names that are kept, and the longest of them in characters.
_NAMES: Final = 1024
_LONGEST_NAME: Final = 64
#: The longest value that is Huffman-coded when it enters the table; `huffman.py` keeps the codes of such values.
_LONGEST_CODED: Final = 64
#: The static fields have the indexes up to this one.
_STATIC: Final = len(STATIC_FIELDS)
#: Names whose values seldom come again.
_PLAIN: Final = frozenset({"x-request-id", "content-length", "etag", "location", "age"})

_NO_NAMES: Final[list[str]] = []

#: The first byte of a field whose value follows: it enters the table, it does not, and it never may (section 6.2).
_ENTERING: Final = 0x40
_WITHOUT: Final = 0x00
_NEVER_INDEXED: Final = 0x10


def _integer(first: int, mask: int, value: int) -> bytes:
    """Return an integer whose first byte has other bits too; `mask` are those of the integer (section 5.1)."""
    if value < mask:
        return bytes([first | value])
    out = [first | mask]
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


#: All indexes that occur: an entry takes at least 32 bytes of a table.
_INDEXED: Final = [_integer(0x80, 0x7F, index) for index in range(_STATIC + _MOST_ROOM // 32 + 1)]
#: The beginnings of short strings.
_SIZES: Final = [_integer(0, 0x7F, size) for size in range(256)]


def _string(out: list[bytes], raw: bytes, first: int) -> None:
    size = len(raw)
    out.append(_SIZES[size] if size < 256 and not first else _integer(first, 0x7F, size))
    out.append(raw)


class _Name:
    """A name in lower case as a field begins with it, and the static fields with this name by their values."""

    __slots__ = ("entering", "is_plain", "is_secret", "never", "plain", "static")

    def __init__(self, key: str) -> None:
        self.is_plain = key in _PLAIN
        self.is_secret = key in SECRETS
        self.static = {value: index for index, (name, value) in enumerate(STATIC_FIELDS, 1) if name == key}
        index, spelled = min(self.static.values(), default=0), list[bytes]()
        if not index:
            _string(spelled, encode(key), 0x80)
        rest = b"".join(spelled)
        self.entering = _integer(_ENTERING, 0x3F, index) + rest
        self.plain = _integer(_WITHOUT, 0x0F, index) + rest
        self.never = _integer(_NEVER_INDEXED, 0x0F, index) + rest


#: The names so far, by their texts; cleared when full.
_names: Final[dict[str, _Name]] = {}


def _name(key: str) -> _Name:
    found = _names.get(key)
    if found is None:
        found = _Name(key)
        if len(key) <= _LONGEST_NAME:
            if len(_names) >= _NAMES:
                _names.clear()
            _names[key] = found
    return found


#: The pseudo-fields of a request, in the order in which they are sent.
_PSEUDO_FIELDS: Final = [":method", ":scheme", ":authority", ":path", ":protocol"]
#: The lines of `:status`: the codes are few.
_status_lines: Final[dict[int, Line]] = {}


def _status_line(status: int) -> Line:
    line = _status_lines.get(status)
    if line is None:
        line = _status_lines[status] = f":status: {status}"
    return line


class HPACKEncoder:
    """The encoder of one connection. `never_indexed` are further names, in lower case, with secrets of one client."""

    __slots__ = (
        "_last_seen", "_lines", "_never", "_next", "_numbers", "_place", "_room", "_seen", "_size", "_updates",
    )  # fmt: skip

    def __init__(self, never_indexed: frozenset[str] = frozenset()) -> None:
        self._never = never_indexed
        #: The entries of the table, the oldest first, and their size.
        self._lines: list[Line] = []
        self._size = 0
        self._room = _MOST_ROOM
        #: The updates of the table's size that the next block begins with.
        self._updates: list[int] = []
        #: Line -> the index of a static field, or the number of an entry. Entries are numbered as they come, from the
        #: first index after the static ones: so an entry of number n has the index `_next` - n + `_STATIC`.
        self._numbers: dict[Line, int] = {}
        self._next = _STATIC + 1
        #: The hashes of lines that were sent plain, and a ring of the last ones; two lines with one hash do no harm.
        self._seen: set[int] = set()
        self._last_seen = [0] * _SEEN
        self._place = 0

    def resize(self, size: int) -> None:
        """Follow the peer's SETTINGS_HEADER_TABLE_SIZE, up to 4,096 bytes (section 4.2)."""
        room = min(size, _MOST_ROOM)
        if self._updates:
            lowest = min(self._updates[0], room)
            self._updates = [room] if lowest == room else [lowest, room]
        elif room != self._room:
            self._updates = [room]
        self._room = room
        self._evict(0)

    def encode_response(self, status: int, headers: Headers) -> bytes:
        """Return the block of a response's head."""
        keys, lines = headers.keyed_lines()
        keys.insert(0, ":status")
        lines.insert(0, _status_line(status))
        return self._block(keys, lines, headers.never_indexed)

    def encode_request(
        self, method: str, scheme: str, authority: str, path: str, headers: Headers, protocol: str = ""
    ) -> bytes:
        """Return the block of a request's head, without Host: `authority` replaces it (RFC 9113 section 8.3.1)."""
        keys, lines = headers.keyed_lines()
        while "host" in keys:
            del lines[keys.index("host")]
            keys.remove("host")
        first = [f":method: {method}", f":scheme: {scheme}", f":authority: {authority}", f":path: {path}"]
        if protocol:
            first.append(f":protocol: {protocol}")
        return self._block([*_PSEUDO_FIELDS[: len(first)], *keys], first + lines, headers.never_indexed)

    def encode_trailers(self, pairs: Iterable[tuple[str, str]]) -> bytes:
        """Return the block of trailers."""
        fields = list(pairs)
        keys, lines = [name.lower() for name, _ in fields], [f"{name}: {value}" for name, value in fields]
        return self._block(keys, lines, [name.lower() for name, _ in fields if isinstance(name, NeverIndexed)])

    def _block(self, keys: list[str], lines: list[Line], never_indexed: list[str]) -> bytes:
        """Return the block of these lines; `keys` are their names in lower case."""
        if never_indexed:
            return self._guarded_block(keys, lines, frozenset(never_indexed))
        out: list[bytes] = []
        if self._updates:
            out += [_integer(0x20, 0x1F, size) for size in self._updates]
            self._updates = []
        numbers = self._numbers
        try:
            for place, line in enumerate(lines):
                number = numbers.get(line)
                if number is None:
                    self._literal(out, keys[place], line)
                else:
                    out.append(_INDEXED[number if number <= _STATIC else self._next - number + _STATIC])
        except UnicodeEncodeError:
            self._restart()
            raise
        return b"".join(out)

    def _guarded_block(self, keys: list[str], lines: list[Line], never_indexed: frozenset[str]) -> bytes:
        """Return the block of these lines, of which those with these names are sent as their sender wants it.

        That holds for a line of the table, too: its index would tell that others have sent the same.
        """
        out = [self._block([], [], _NO_NAMES)]  # the updates of the table's size
        try:
            for key, line in zip(keys, lines, strict=True):
                if key in never_indexed:
                    out.append(_name(key).never)
                    _string(out, line[len(key) + 2 :].encode("latin-1"), 0)
                else:
                    out.append(self._block([key], [line], _NO_NAMES))
        except UnicodeEncodeError:
            self._restart()
            raise
        return b"".join(out)

    def _restart(self) -> None:
        """Empty both tables after a block that failed: ours may have entries that the peer has never seen."""
        self._lines = []
        self._numbers = {}
        self._size = 0
        self._updates = [0, self._room] if self._room else [0]

    def _literal(self, out: list[bytes], key: str, line: Line) -> None:
        """Append a line that has no number yet."""
        name = _name(key)
        value = line[len(key) + 2 :]
        if name.is_secret or key in self._never:
            out.append(name.never)
        elif name.is_plain:
            out.append(name.plain)
        elif value in name.static:
            out.append(_INDEXED[name.static[value]])
            if len(self._numbers) < _NUMBERS:
                self._numbers[line] = name.static[value]
            return
        elif not self._comes_again(line):
            out.append(name.plain)
        else:
            out.append(name.entering)
            self._insert(line)
            if len(value) <= _LONGEST_CODED:
                _string(out, encode(value), 0x80)
                return
        _string(out, value.encode("latin-1"), 0)

    def _comes_again(self, line: Line) -> bool:
        """Return whether the line was seen before and fits into the table, without displacing nearly all of it."""
        if (len(line) + _ENTRY_OVERHEAD) * 4 > self._room * 3:
            return False
        mark = hash(line)
        if mark in self._seen:
            self._seen.remove(mark)
            return True
        self._seen.discard(self._last_seen[self._place])
        self._seen.add(mark)
        self._last_seen[self._place] = mark
        self._place = (self._place + 1) % _SEEN
        return False

    def _insert(self, line: Line) -> None:
        size = len(line) + _ENTRY_OVERHEAD
        self._evict(size)
        self._lines.append(line)
        self._size += size
        self._numbers[line] = self._next
        self._next += 1

    def _evict(self, size: int) -> None:
        """Remove the oldest entries until there is room for one of this size."""
        while self._lines and self._size + size > self._room:
            line = self._lines.pop(0)
            self._size -= len(line) + _ENTRY_OVERHEAD
            del self._numbers[line]
