"""Decoding of field blocks (RFC 7541): fields are checked once, and a block that repeats is not decoded at all.

A field gets its HTTP/1.1 line when it enters the dynamic table, so a block that refers to it costs one list access. A
bad field stays in the table too, without a line: each message that refers to it is malformed.
"""

import re
from typing import Final

from gproxy.http.field_names import FieldNames
from gproxy.http.h2.huffman import HPACKError, decode
from gproxy.http.h2.never_indexed import SECRETS
from gproxy.http.h2.tables import STATIC_FIELDS
from gproxy.http.headers import Line

__all__ = ["DecodedBlock", "Field", "HPACKDecoder", "HPACKError"]

#: The size of a dynamic table until its encoder says otherwise (RFC 9113 section 6.5.2).
DEFAULT_TABLE_SIZE: Final = 4096
#: What a field takes beside its name and value (RFC 7541 section 4.1).
FIELD_OVERHEAD: Final = 32
#: The number of static fields: dynamic ones have the indexes above.
_STATIC: Final = len(STATIC_FIELDS)
#: The first byte of a literal field that no one may index, without the bits of its index (RFC 7541 section 6.2.3).
_NEVER_INDEXED: Final = 0x10
# RFC 9113 section 8.2.1: FIELD_CHAR, without a blank at either end.
_is_value = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*+(?<![\t ]))?)?").fullmatch
_is_pseudo_name = re.compile(r":[a-z]++").fullmatch
#: The largest integer: no size or index comes near it, and 5 bytes are enough for it.
_MOST: Final = 1 << 28
_MOST_BYTES: Final = 4
#: Updates of the table's size that one block may begin with (RFC 7541 section 4.2).
_MOST_UPDATES: Final = 2
#: Literal fields of one block, or twice `max_fields` if that is more. The tiny ones of a block of 64 KiB would hold the
#: loop for 9 ms, and no client sends so many.
_MOST_LITERALS: Final = 4096
#: The number of recent blocks that a connection keeps, and most of their bytes: it has one client, with few habits.
_RECENT: Final = 16
_RECENT_BYTES: Final = 16 * 1024
_NO_NAMES: Final[frozenset[str]] = frozenset()


class Field:
    """A header field, checked and with its line; all messages that refer to a table's entry share it."""

    __slots__ = ("is_bad", "line", "name", "size", "uses", "value")

    def __init__(self, name: str, value: str, line: Line, uses: int, is_bad: bool) -> None:
        self.name = name
        self.value = value
        #: Empty for pseudo-fields and bad fields.
        self.line = line
        #: Bits of `gproxy.http.field_names`.
        self.uses = uses
        #: True if the name is no token in lower case, or the value has other characters than values have.
        self.is_bad = is_bad
        self.size = len(name) + len(value) + FIELD_OVERHEAD


class DecodedBlock:
    """The fields of a block. If it `is_too_large`, `fields` is incomplete; the dynamic table is right all the same."""

    __slots__ = ("fields", "is_too_large", "memo", "never_indexed", "size")

    def __init__(self, fields: list[Field], size: int, is_too_large: bool) -> None:
        self.fields = fields
        #: The names and values, and FIELD_OVERHEAD for each field (RFC 9113 section 6.5.2).
        self.size = size
        self.is_too_large = is_too_large
        #: Names that came as never indexed, but for those of `SECRETS`: who passes them on has to send them so, too.
        self.never_indexed = _NO_NAMES
        #: What the block means, found once by `http/h2/fields.py`.
        self.memo: object = None


def _field(names: FieldNames, name: str, value: str) -> Field:
    good = _is_good(value)
    if name.startswith(":"):
        return Field(name, value, "", 0, not good or _is_pseudo_name(name) is None)
    found = names.known.get(name) or names.learn(name)
    if found is None or found.key != name or not good:
        return Field(name, value, "", 0, is_bad=True)
    return Field(name, value, f"{name}: {value}", found.uses, is_bad=False)


def _is_good(value: str) -> bool:
    """Return whether a field may have this value: without control characters, and without a blank at either end."""
    if value.isascii() and value.isprintable():  # PERF: most values, without a match
        return not value.startswith(" ") and not value.endswith(" ")
    return _is_value(value) is not None


#: The static fields as each table of names judges them.
_static_fields: Final[dict[FieldNames, list[Field]]] = {}
#: The number of these tables that are kept: a process has one for each listener, and one for backends.
_MOST_NAMES: Final = 16


def _judged(names: FieldNames) -> list[Field]:
    found = _static_fields.get(names)
    if found is None:
        if len(_static_fields) >= _MOST_NAMES:
            _static_fields.clear()
        found = _static_fields[names] = [_field(names, name, value) for name, value in STATIC_FIELDS]
    return found


def _integer(block: bytes, pos: int, mask: int) -> tuple[int, int]:
    """Return the integer whose first byte is at `pos`, in the bits of `mask`, and the place after it (section 5.1)."""
    value = block[pos] & mask
    pos += 1
    if value < mask:
        return value, pos
    shift = 0
    for byte in block[pos : pos + _MOST_BYTES]:
        value += (byte & 0x7F) << shift
        shift += 7
        pos += 1
        if byte < 0x80:
            if value > _MOST:
                break
            return value, pos
    raise HPACKError(f"an integer is cut off, longer than {_MOST_BYTES + 1} bytes or above {_MOST}")


def _text(block: bytes, pos: int) -> tuple[str, int]:
    """Return the string at `pos`, and the place after it (section 5.2)."""
    if pos >= len(block):
        raise HPACKError("a field is cut off")
    is_coded = block[pos] >= 0x80
    size, pos = _integer(block, pos, 0x7F)
    end = pos + size
    if end > len(block):
        raise HPACKError("a string is longer than its block")
    return (decode(block, pos, end) if is_coded else block[pos:end].decode("latin-1")), end


class HPACKDecoder:
    """The decoder of one connection: its dynamic table, and the blocks that have come since the table changed.

    `max_size` and `max_fields` bound a block; `table_size` is what our SETTINGS announce. An HPACKError is final.
    """

    __slots__ = (
        "_fields_limit", "_most_literals", "_names", "_recent", "_recent_bytes", "_size_limit", "_static", "_table",
        "_table_limit", "_table_room", "_table_size",
    )  # fmt: skip

    def __init__(self, names: FieldNames, max_size: int, max_fields: int, table_size: int = DEFAULT_TABLE_SIZE) -> None:
        self._names = names
        self._static = _judged(names)
        self._size_limit = max_size
        self._fields_limit = max_fields
        self._most_literals = max(_MOST_LITERALS, 2 * max_fields)
        #: The dynamic table: the newest field is the last one.
        self._table: list[Field] = []
        self._table_size = 0
        #: The size that the encoder uses, and the most that it may use.
        self._table_room = min(table_size, DEFAULT_TABLE_SIZE)
        self._table_limit = table_size
        #: The blocks that left the table as it is, since it changed: they mean the same again.
        self._recent: dict[bytes, DecodedBlock] = {}
        self._recent_bytes = 0

    def decode(self, block: bytes) -> DecodedBlock:
        """Return the fields of a complete block. Raises HPACKError.

        A block that equals a recent one, with the same table, gives the same object.
        """
        found = self._recent.get(block)
        return self._decode(block) if found is None else found

    def _decode(self, block: bytes) -> DecodedBlock:
        pos = self._read_updates(block)
        keeps_table = True  # updates too: they change nothing when they come again, with the same table
        end = len(block)
        fields: list[Field] = []
        never_indexed: list[str] | None = None
        size = literals = 0
        while pos < end:
            byte = block[pos]
            if byte >= 0x80:
                index, pos = _integer(block, pos, 0x7F)
                field = self._at(index)
            else:
                field, pos = self._literal(block, pos)
                literals += 1
                if literals > self._most_literals:
                    raise HPACKError(f"a block has more than {self._most_literals} literal fields")
                if byte >= 0x40:
                    keeps_table = False
                    self._insert(field)
                elif byte >= _NEVER_INDEXED and field.name not in SECRETS:
                    never_indexed = never_indexed or []
                    never_indexed.append(field.name)
            size += field.size
            if size <= self._size_limit:
                fields.append(field)
        decoded = DecodedBlock(fields, size, size > self._size_limit or self._has_too_many(fields))
        if never_indexed is not None:
            decoded.never_indexed = frozenset(never_indexed)
        if keeps_table and not decoded.is_too_large:
            self._remember(block, decoded)
        return decoded

    def _read_updates(self, block: bytes) -> int:
        """Apply the updates of the table's size that the block begins with; return the place after them."""
        pos = count = 0
        while pos < len(block) and block[pos] & 0xE0 == 0x20:
            count += 1
            size, pos = _integer(block, pos, 0x1F)
            if count > _MOST_UPDATES:
                raise HPACKError(f"a block begins with more than {_MOST_UPDATES} updates of the table's size")
            if size > self._table_limit:
                raise HPACKError(f"the table's size is updated to {size} bytes; the most is {self._table_limit}")
            self._forget()
            self._table_room = size
            self._evict(0)
        return pos

    def _at(self, index: int) -> Field:
        """Return the field with this index (section 2.3.3)."""
        if 0 < index <= _STATIC:
            return self._static[index - 1]
        if not index or index - _STATIC > len(self._table):
            raise HPACKError(f"index {index} is beyond the table, which ends at {_STATIC + len(self._table)}")
        return self._table[_STATIC - index]

    def _literal(self, block: bytes, pos: int) -> tuple[Field, int]:
        """Return the field at `pos` whose value is in the block, and the place after it (section 6.2)."""
        byte = block[pos]
        if byte & 0xE0 == 0x20:
            raise HPACKError("an update of the table's size comes after a field")
        index, pos = _integer(block, pos, 0x3F if byte >= 0x40 else 0x0F)
        if index:
            name = self._at(index).name
        else:
            name, pos = _text(block, pos)
        value, pos = _text(block, pos)
        return _field(self._names, name, value), pos

    def _insert(self, field: Field) -> None:
        """Add the field as the newest one. One that is larger than the table leaves it empty (section 4.4)."""
        self._forget()
        self._evict(field.size)
        if field.size <= self._table_room:
            self._table.append(field)
            self._table_size += field.size

    def _evict(self, size: int) -> None:
        """Remove the oldest fields until there is room for a field of this size."""
        while self._table and self._table_size + size > self._table_room:
            self._table_size -= self._table.pop(0).size

    def _has_too_many(self, fields: list[Field]) -> bool:
        """Return whether there are too many fields; a cookie counts once, in whatever number of pieces it came."""
        if len(fields) <= self._fields_limit:
            return False
        cookies = sum(field.name == "cookie" for field in fields)
        others = sum(not field.name.startswith(":") for field in fields) - cookies
        return others + (cookies > 0) > self._fields_limit

    def _remember(self, block: bytes, decoded: DecodedBlock) -> None:
        size = len(block) + decoded.size
        if size > _RECENT_BYTES:
            return
        if len(self._recent) >= _RECENT or self._recent_bytes + size > _RECENT_BYTES:
            self._forget()
        self._recent[block] = decoded
        self._recent_bytes += size

    def _forget(self) -> None:
        if self._recent_bytes:
            self._recent.clear()
            self._recent_bytes = 0
