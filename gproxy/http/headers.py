"""Header fields: an ordered, case-insensitive multi-dict that keeps case and repetition (RFC 9110 section 5).

One dict has the first line of every name; a second one, usually absent, has further lines of the same name. So a
typical request costs one dict, and a look-up is one dict look-up. Each field keeps its encoded line: most fields are
sent as they came.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, overload

from gproxy.http.header_names import SECRET_FIELDS, is_field_value, is_token

HeadersLike: TypeAlias = "Headers | Mapping[str, str] | Iterable[tuple[str, str]]"
#: Name, value, and the encoded line without its CRLF.
Field: TypeAlias = tuple[str, str, str]


def _field(name: str, value: str) -> Field:
    return (name, value, f"{name}: {value}")


def _joined(lines: list[str]) -> str:
    lines.append("")
    return "\r\n".join(lines)


def _checked(name: str, value: str) -> str:
    """Return the value without surrounding blanks. Reject characters that split the head (RFC 9110 section 5.5)."""
    if not is_token(name):
        raise ValueError(f"{name!r} is not a header name")
    if not is_field_value(value):
        raise ValueError(f"the value for {name} has characters that a header value must not have")
    return value.strip(" \t")


class Headers:
    """Ordered multi-dict of header fields; names ignore case, lines of one name stay together in order.

    Raises ValueError for a name that is no token, and for a value with control characters or beyond latin-1.
    """

    __slots__ = ("_first", "_more", "is_stripped")

    @classmethod
    def __init_subclass__(cls) -> None:
        """Raise TypeError at once: in a compiled build, only the first instance of a subclass would fail."""
        raise TypeError("Headers cannot be subclassed")

    def __init__(self, fields: HeadersLike = ()) -> None:
        self._first: dict[str, Field] = {}
        self._more: dict[str, list[Field]] | None = None
        #: PERF: True if hop-by-hop fields of a response were removed and no field was added since.
        self.is_stripped = False
        if fields:
            pairs: Any = fields.items() if isinstance(fields, Headers | Mapping) else fields  # pairs may be lists
            for name, value in pairs:
                self.add(name, value)

    @classmethod
    def parsed(cls, first: dict[str, Field], further: list[tuple[str, Field]]) -> "Headers":
        """Return headers of fields that the wire grammar has checked, by their names in lower case.

        `first` has the first field of each name, `further` those that repeat a name.
        """
        self = cls()
        self._first = first
        for key, field in further:
            self._repeat(key, field)
        return self

    def _append(self, field: Field) -> None:
        key = field[0].lower()
        self.is_stripped = False
        if key not in self._first:
            self._first[key] = field
        else:
            self._repeat(key, field)

    def _repeat(self, key: str, field: Field) -> None:
        if self._more is None:
            self._more = {}
        self._more.setdefault(key, []).append(field)

    def add(self, name: str, value: str) -> None:
        """Append one line, also if the name exists."""
        self._append(_field(name, _checked(name, value)))

    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: str | None = None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value; lines of a repeated name are joined by a comma (RFC 9110 section 5.3).

        Lines of Cookie are joined by a semicolon (RFC 9113 section 8.2.3). Of Set-Cookie only the first is returned.
        """
        key = name.lower()
        field = self._first.get(key)
        if field is None:
            return default
        if self._more is None or key not in self._more or key == "set-cookie":
            return field[1]
        return ("; " if key == "cookie" else ", ").join(self.all(key))

    def lookup(self, key: str) -> str | None:
        """Return the same as `get`, for a name in lower case."""
        field = self._first.get(key)
        if field is None:
            return None
        return field[1] if self._more is None else self.get(key)

    def all(self, name: str) -> list[str]:
        """Return the value of every line with this name, in order."""
        key = name.lower()
        if key not in self._first:
            return []
        more = self._more.get(key, []) if self._more else []
        return [self._first[key][1], *(field[1] for field in more)]

    def put(self, name: str, key: str, value: str) -> None:
        """Replace without a check, for names and values of the gateway; `key` is the name in lower case."""
        self._first[key] = _field(name, value)
        if self._more:
            self._more.pop(key, None)

    def discard(self, name: str) -> None:
        """Remove every line of this name, if any."""
        key = name.lower()
        if self._first.pop(key, None) is not None and self._more:
            self._more.pop(key, None)

    def discard_all(self, keys: frozenset[str]) -> None:
        """Remove every line of these names, given in lower case."""
        if self.has_any(keys):
            for key in keys.intersection(self._first):
                del self._first[key]
                if self._more:
                    self._more.pop(key, None)

    def has_any(self, keys: frozenset[str]) -> bool:
        """Return whether one of these names, given in lower case, exists."""
        return not keys.isdisjoint(self._first)

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
        return [field[0] for field in self._first.values()]

    def values(self) -> list[str]:
        """Return the value of each name, as `get` does."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, str]]:
        """Return every line as (name, value), the lines of one name together."""
        return [(field[0], field[1]) for field in self._fields()]

    def _fields(self) -> list[Field]:
        """Return every field, those of one name together."""
        if not self._more:
            return list(self._first.values())
        return [field for key, first in self._first.items() for field in (first, *self._more.get(key, ()))]

    def update(self, fields: HeadersLike) -> None:
        """Replace every name that the given fields have."""
        fresh = fields if isinstance(fields, Headers) else Headers(fields)
        for key in fresh._first:  # noqa: SLF001 of the same class
            self.discard(key)
        for field in fresh._fields():
            self._append(field)

    def copy(self) -> "Headers":
        twin = Headers()
        twin._first = self._first.copy()
        twin.is_stripped = self.is_stripped
        twin._more = {key: list(fields) for key, fields in self._more.items()} if self._more else None
        return twin

    def lines(self) -> str:
        """Return the encoded fields, each line with its CRLF."""
        return _joined([field[2] for field in self._fields()])

    def lines_without(self, dropped: frozenset[str]) -> str:
        """Return `lines()` without the names (in lower case) in `dropped`."""
        if self._more:
            return _joined([field[2] for field in self._fields() if field[0].lower() not in dropped])
        return _joined([field[2] for key, field in self._first.items() if key not in dropped])

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str | None) -> None:
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
        return iter([field[0] for field in self._first.values()])

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
