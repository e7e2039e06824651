"""Header fields: an ordered, case-insensitive multi-dict that keeps case and repetition (RFC 9110 section 5).

One dict has the first line of every name; a second one, usually absent, has further lines of the same name. So a
typical request costs one dict, and a look-up is one dict look-up. A field is kept as its encoded line, because most
fields are sent as they came and no handler asks for their values.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, overload

from gproxy.http.header_names import SECRET_FIELDS, is_field_value, is_token

HeadersLike: TypeAlias = "Headers | Mapping[str, str] | Iterable[tuple[str, str]]"
#: The name, a colon, a blank and the value; without the CRLF. The name is as long as its key, the name in lower case.
Line: TypeAlias = str


def _line(name: str, value: str) -> Line:
    return f"{name}: {value}"


def _value(key: str, line: Line) -> str:
    return line[len(key) + 2 :]


def _pair(key: str, line: Line) -> tuple[str, str]:
    size = len(key)
    return line[:size], line[size + 2 :]


_NOTHING: Final[frozenset[str]] = frozenset()
_NO_NAMES: Final[list[str]] = []
#: The key of the names that are never indexed, among further lines: no field has it.
_NEVER_INDEXED: Final = ""


def _joined(lines: list[Line]) -> str:
    lines.append("")
    return "\r\n".join(lines)


def _checked(name: str, value: object) -> str:
    """Return the value without surrounding blanks. Reject characters that split the head (RFC 9110 section 5.5)."""
    if not is_token(name):
        raise ValueError(f"{name!r} is not a header name")
    if not isinstance(value, str):  # PERF: in place of the check of the argument's type, which says less
        raise TypeError(f"the value of {name} must be text, not {_no_text(value)}")
    if not is_field_value(value):
        raise ValueError(f"the value for {name} has characters that a header value must not have")
    return value.strip(" \t")


def _no_text(value: object) -> str:
    """Return what a value that is no text is; only numbers are shown, because others may be secrets."""
    return f"{value!r}; write str({value!r})" if isinstance(value, int | float) else type(value).__name__


class Headers:
    """Ordered multi-dict of header fields; names ignore case, lines of one name stay together in order.

    Raises ValueError for a name that is no token, and for a value with control characters or beyond latin-1; TypeError
    for a value that is no text.
    """

    __slots__ = ("_first", "_more", "is_stripped")

    @classmethod
    def __init_subclass__(cls) -> None:
        """Raise TypeError at once: in a compiled build, only the first instance of a subclass would fail."""
        raise TypeError("Headers cannot be subclassed")

    def __init__(self, fields: HeadersLike = ()) -> None:
        self._first: dict[str, Line] = {}
        #: Further lines by their names. PERF: so are the names that are never indexed, which spares an attribute.
        self._more: dict[str, list[Line]] | None = None
        #: PERF: True if hop-by-hop fields of a response were removed and no field was added since.
        self.is_stripped = False
        if fields:
            pairs: Any = fields  # may be lists
            if isinstance(fields, (dict, Headers, Mapping)):  # PERF: a dict first: to ask an abstract class is slow
                pairs = fields.items()
            for name, value in pairs:
                self._append(name.lower(), _line(name, _checked(name, value)))

    @classmethod
    def parsed(cls, first: dict[str, Line], further: list[tuple[str, Line]]) -> "Headers":
        """Return headers of lines that the wire grammar has checked, by their names in lower case.

        `first` has the first line of each name, `further` those that repeat a name.
        """
        self = cls()
        self._first = first
        for key, line in further:
            self._repeat(key, line)
        return self

    def _append(self, key: str, line: Line) -> None:
        self.is_stripped = False
        if key in self._first:
            self._repeat(key, line)
        else:
            self._first[key] = line

    def _repeat(self, key: str, line: Line) -> None:
        if self._more is None:
            self._more = {}
        self._more.setdefault(key, []).append(line)

    def add(self, name: str, value: str) -> None:
        """Append one line, also if the name exists."""
        self._append(name.lower(), _line(name, _checked(name, value)))

    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: str | None = None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value; lines of a repeated name are joined by a comma (RFC 9110 section 5.3).

        Lines of Cookie are joined by a semicolon (RFC 9113 section 8.2.3). Of Set-Cookie only the first is returned.
        """
        key = name.lower()
        line = self._first.get(key)
        if line is None:
            return default
        if self._more is None or key not in self._more or key == "set-cookie":
            return _value(key, line)
        return ("; " if key == "cookie" else ", ").join(self.all(key))

    def lookup(self, key: str) -> str | None:
        """Return the same as `get`, for a name in lower case."""
        line = self._first.get(key)
        if line is None:
            return None
        return _value(key, line) if self._more is None else self.get(key)

    def all(self, name: str) -> list[str]:
        """Return the value of every line with this name, in order."""
        key = name.lower()
        return [_value(key, line) for line in self._lines_of(key)]

    def _lines_of(self, key: str) -> list[Line]:
        if key not in self._first:
            return []
        more = self._more.get(key, []) if self._more else []
        return [self._first[key], *more]

    def put(self, name: str, key: str, value: str) -> None:
        """Replace without a check, for names and values of the gateway; `key` is the name in lower case."""
        self._first[key] = _line(name, value)
        if self._more:
            self._more.pop(key, None)

    def put_line(self, key: str, line: Line) -> None:
        """Replace without a check by this line; `key` is its name in lower case. PERF: spares building the line."""
        self._first[key] = line
        if self._more:
            self._more.pop(key, None)

    def discard(self, name: str) -> None:
        """Remove every line of this name, if any."""
        key = name.lower()
        if self._first.pop(key, None) is not None and self._more:
            self._more.pop(key, None)

    def discard_all(self, keys: Iterable[str]) -> None:
        """Remove every line of these names, given in lower case."""
        for key in keys:
            if self._first.pop(key, None) is not None and self._more:
                self._more.pop(key, None)

    def has_any(self, keys: tuple[str, ...]) -> bool:
        """Return whether one of these names, given in lower case, exists."""
        for key in keys:  # noqa: SIM110 PERF: any() would make a generator
            if key in self._first:
                return True
        return False

    @overload
    def pop(self, name: str, default: str) -> str: ...
    @overload
    def pop(self, name: str, default: str | None = None) -> str | None: ...
    def pop(self, name: str, default: str | None = None) -> str | None:
        """Remove every line of this name and return its value."""
        value = self.get(name, default)
        self.discard(name)
        return value

    def names(self) -> Iterable[str]:
        """Return the names in lower case, once each."""
        return self._first.keys()

    def keys(self) -> list[str]:
        """Return the names in their original case, once each; `dict(headers)` uses it."""
        return [line[: len(key)] for key, line in self._first.items()]

    def values(self) -> list[str]:
        """Return the value of each name, as `get` does."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, str]]:
        """Return every line as (name, value), the lines of one name together."""
        if not self._more:
            return [_pair(key, line) for key, line in self._first.items()]
        return [_pair(key, line) for key in self._first for line in self._lines_of(key)]

    def update(self, fields: HeadersLike) -> None:
        """Replace every name that the given fields have."""
        fresh = fields if isinstance(fields, Headers) else Headers(fields)
        for key in fresh._first:  # noqa: SLF001 of the same class
            self.discard(key)
            for line in fresh._lines_of(key):  # noqa: SLF001 of the same class
                self._append(key, line)

    def copy(self) -> "Headers":
        twin = Headers()
        twin._first = self._first.copy()
        twin.is_stripped = self.is_stripped
        twin._more = {key: list(lines) for key, lines in self._more.items()} if self._more else None
        return twin

    def keyed_lines(self) -> tuple[list[str], list[Line]]:
        """Return the line of every field, those of one name together, and beside it the name in lower case of each."""
        if not self._more:
            return list(self._first), list(self._first.values())
        keys = [key for key in self._first for _ in self._lines_of(key)]
        return keys, [line for key in self._first for line in self._lines_of(key)]

    @property
    def never_indexed(self) -> list[str]:
        """Names, in lower case, whose values no peer of HTTP/2 may put into a table; pseudo-fields, too."""
        return _NO_NAMES if self._more is None else self._more.get(_NEVER_INDEXED, _NO_NAMES)

    def never_index(self, keys: Iterable[str]) -> None:
        """Note names, in lower case, that a peer has sent as never indexed (RFC 7541 section 7.1.3)."""
        if self._more is None:
            self._more = {}
        self._more[_NEVER_INDEXED] = list(keys)

    def lines(self) -> str:
        """Return the encoded fields, each line with its CRLF."""
        return self.lines_without(_NOTHING)

    def lines_without(self, dropped: frozenset[str]) -> str:
        """Return `lines()` without the names (in lower case) in `dropped`."""
        if not self._more:
            return _joined([line for key, line in self._first.items() if key not in dropped])
        return _joined([line for key in self._first if key not in dropped for line in self._lines_of(key)])

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    @overload
    def __setitem__(self, name: str, value: str) -> None: ...
    @overload
    def __setitem__(self, name: str, value: None) -> None: ...
    def __setitem__(self, name: str, value: object) -> None:
        """Replace every line of this name; None removes them."""
        if value is None:
            self.discard(name)
            return
        checked = _checked(name, value)
        self.is_stripped = False
        self.put(name, name.lower(), checked)

    def setdefault(self, name: str, value: str) -> str:
        """Return the present value; without one, set the default and return it."""
        if name not in self:
            self[name] = value
        return self[name]

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.discard(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._first)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(n.lower(), v) for n, v in self.items()] == [(n.lower(), v) for n, v in other.items()]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ((name, "***" if name.lower() in SECRET_FIELDS else value) for name, value in self.items())
        return f"Headers({list(shown)!r})"
