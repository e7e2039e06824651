"""Header fields: an ordered mapping that ignores case, keeps it, and keeps repetition (RFC 9110 section 5).

The first line of every name stands in one dict, further lines of the same name in a second one that is
usually absent. So the common request costs one dict, and a lookup is one dict lookup.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

HeadersLike: TypeAlias = "Headers | Mapping[str, str] | Iterable[tuple[str, str]]"

#: token, RFC 9110 section 5.6.2
TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
#: field-content with its inner blanks and obs-text, RFC 9110 section 5.5
FIELD_CHAR: Final = r"[\t\x20-\x7e\x80-\xff]"

_is_name = re.compile(f"{TOKEN}+").fullmatch
_is_value = re.compile(f"{FIELD_CHAR}*").fullmatch

#: Fields whose values are not for a log or a traceback.
SECRET_FIELDS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


def _checked(name: str, value: str) -> tuple[str, str]:
    """Refuse what would split or garble the head: RFC 9110 section 5.5."""
    if not _is_name(name):
        raise ValueError(f"{name!r} is not a header name")
    if not _is_value(value):
        raise ValueError(f"the value for {name} holds characters that no header value may have")
    return name, value.strip(" \t")


class Headers:
    """Ordered multi-dict of header fields; names compare without case, lines of one name stay together in order.

    Raises ValueError for a name that is no token or a value with control characters or beyond latin-1.
    """

    __slots__ = ("_first", "_more")

    def __init__(self, fields: HeadersLike = ()) -> None:
        self._first: dict[str, tuple[str, str]] = {}
        self._more: dict[str, list[tuple[str, str]]] | None = None
        if fields:
            for name, value in fields.items() if isinstance(fields, Headers | Mapping) else fields:
                self.add(name, value)

    @classmethod
    def parsed(cls, pairs: list[tuple[str, str]]) -> "Headers":
        """Headers from pairs that the wire grammar has already checked."""
        self = cls()
        self._first = first = {pair[0].lower(): pair for pair in pairs}
        self._more = None
        if len(first) != len(pairs):
            self._keep_repetition(pairs)
        return self

    def _keep_repetition(self, pairs: list[tuple[str, str]]) -> None:
        self._first = {}
        for pair in pairs:
            self._append(pair)

    def _append(self, pair: tuple[str, str]) -> None:
        key = pair[0].lower()
        if key not in self._first:
            self._first[key] = pair
            return
        if self._more is None:
            self._more = {}
        self._more.setdefault(key, []).append(pair)

    def add(self, name: str, value: str) -> None:
        """Append one more line, whether or not the name is there."""
        self._append(_checked(name, value))

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value; the lines of a repeated name joined by a comma (RFC 9110 section 5.3), of Set-Cookie the first."""
        key = name.lower()
        pair = self._first.get(key)
        if pair is None:
            return default
        if self._more is None or key not in self._more or key == "set-cookie":
            return pair[1]
        return ", ".join(self.all(key))

    def lookup(self, key: str) -> str | None:
        """`get` for a name that is in lower case already."""
        pair = self._first.get(key)
        if pair is None:
            return None
        return pair[1] if self._more is None else self.get(key)

    def all(self, name: str) -> list[str]:
        """Every line's value, in order; an empty list if there is none."""
        key = name.lower()
        if key not in self._first:
            return []
        more = self._more.get(key, []) if self._more else []
        return [self._first[key][1], *(value for _, value in more)]

    def put(self, name: str, key: str, value: str) -> None:
        """Replace without a check: for names and values of our own making; `key` is the name in lower case."""
        self._first[key] = (name, value)
        if self._more:
            self._more.pop(key, None)

    def discard(self, name: str) -> None:
        """Remove every line of this name, if there is any."""
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
        """Is one of these names, given in lower case, there?"""
        return not keys.isdisjoint(self._first)

    def pop(self, name: str, default: str | None = None) -> str | None:
        """Remove every line of this name and return its value."""
        value = self.get(name, default)
        self.discard(name)
        return value

    def names(self) -> Iterable[str]:
        """The names in lower case, once each."""
        return self._first.keys()

    def items(self) -> list[tuple[str, str]]:
        """Every line as (name, value), the lines of one name together."""
        if not self._more:
            return list(self._first.values())
        return [pair for key, first in self._first.items() for pair in (first, *self._more.get(key, ()))]

    def update(self, fields: HeadersLike) -> None:
        """Set every name to what the given fields say of it."""
        fresh = fields if isinstance(fields, Headers) else Headers(fields)
        for key in fresh._first:
            self.discard(key)
        for name, value in fresh.items():
            self._append((name, value))

    def copy(self) -> "Headers":
        twin = Headers()
        twin._first = self._first.copy()
        twin._more = {key: list(pairs) for key, pairs in self._more.items()} if self._more else None
        return twin

    def lines(self) -> str:
        """The fields as they go on the wire, each line with its CRLF."""
        pairs = self.items() if self._more else self._first.values()
        return "".join([f"{name}: {value}\r\n" for name, value in pairs])

    def lines_without(self, dropped: frozenset[str]) -> str:
        """`lines()`, but for the names (in lower case) in `dropped`."""
        if self._more:
            return "".join([f"{name}: {value}\r\n" for name, value in self.items() if name.lower() not in dropped])
        return "".join([f"{pair[0]}: {pair[1]}\r\n" for key, pair in self._first.items() if key not in dropped])

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
        name, value = _checked(name, value)
        self.put(name, name.lower(), value)

    def setdefault(self, name: str, value: str) -> str:
        """The value there is, or the given one, which is then set."""
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
        return iter([name for name, _ in self._first.values()])

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
