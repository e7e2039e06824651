"""The filters of `gproxy logs`. Each selects rows by one field, and most know bytes that only few lines have."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gproxy.config.types.addresses import network_of
from gproxy.config.types.units import parse_seconds
from gproxy.http.trust import is_in
from gproxy.observe.access_files.layout import Layout, Row
from gproxy.observe.access_files.moments import Period

Select = Callable[[list[Row]], list[Row]]
#: The number of addresses whose results are kept.
_KEPT: Final = 100_000
_is_status: Final = re.compile(r"[1-5](?:xx|[0-9][0-9])").fullmatch


class Filter(Protocol):
    """A condition on one field, which an option sets."""

    option: str
    field: str

    def selector(self, layout: Layout, place: int) -> Select:
        """Return what selects the rows of this layout. The field is at this place of a row."""

    def texts(self, layout: Layout) -> list[bytes | None]:
        """Return bytes of which a line has some if it is selected; without any, all lines must be parsed."""


class Words:
    """A filter for a field that has one of some values. `-` is an empty value."""

    def __init__(self, option: str, values: Sequence[str]) -> None:
        self.option = option
        self.field = option
        self._values = ["" if value == "-" else value for value in values]

    def selector(self, layout: Layout, place: int) -> Select:
        wanted = {layout.write(self.field, value) for value in self._values}
        return lambda rows: [row for row in rows if row[place] in wanted]

    def texts(self, layout: Layout) -> list[bytes | None]:
        return [layout.found_by(self.field, value, is_whole=True) for value in self._values]


class Statuses:
    """A filter for statuses and classes of them: `404`, `5xx`. Raises ValueError."""

    option = field = "status"

    def __init__(self, values: Sequence[str]) -> None:
        if wrong := next((value for value in values if not _is_status(value)), None):
            raise ValueError(f"expected statuses and classes, such as 5xx,404; found {wrong!r}")
        self._beginnings = [value.removesuffix("xx") for value in values]

    def selector(self, layout: Layout, place: int) -> Select:  # noqa: ARG002 all formats have the same numbers
        statuses = (b"%d" % number for number in range(100, 600))
        wanted = {one for one in statuses if one.decode().startswith(tuple(self._beginnings))}
        return lambda rows: [row for row in rows if row[place] in wanted]

    def texts(self, layout: Layout) -> list[bytes | None]:
        return [layout.found_by(self.field, text, is_whole=False) for text in self._beginnings]


class Paths:
    """A filter for paths of some patterns, in which `*` stands for any characters. Raises ValueError."""

    option = field = "path"

    def __init__(self, patterns: Sequence[str]) -> None:
        if any("?" in pattern for pattern in patterns):
            raise ValueError("expected a path without a query: the field `path` has none")
        self._patterns = [re.sub(r"\*+", "*", pattern) for pattern in patterns]

    def selector(self, layout: Layout, place: int) -> Select:
        forms = [b".*".join(map(re.escape, self._pieces(layout, pattern))) for pattern in self._patterns]
        matches = re.compile(b"|".join(forms)).fullmatch
        return lambda rows: [row for row in rows if matches(row[place])]

    def _pieces(self, layout: Layout, pattern: str) -> list[bytes]:
        return [layout.write("path", piece) if piece else b"" for piece in pattern.split("*")]

    def texts(self, layout: Layout) -> list[bytes | None]:
        begins = [pattern.partition("*") for pattern in self._patterns]
        return [layout.found_by("path", text, is_whole=not star) if len(text) > 1 else None for text, star, _ in begins]


class Clients:
    """A filter for clients of some addresses and networks; `unix` is a client on a unix socket. Raises ValueError."""

    option = field = "client"

    def __init__(self, values: Sequence[str]) -> None:
        self._words = {value for value in values if value == "unix"}
        self._networks = [network_of(value) for value in values if value not in self._words]
        self._decided: dict[bytes, bool] = {}

    def selector(self, layout: Layout, place: int) -> Select:  # noqa: ARG002 all formats have the same addresses
        return lambda rows: [row for row in rows if self._has(row[place])]

    def texts(self, layout: Layout) -> list[bytes | None]:
        whole = [str(one.network_address) if one.prefixlen == one.max_prefixlen else "" for one in self._networks]
        return [layout.found_by("client", text, is_whole=True) if text else None for text in (*whole, *self._words)]

    def _has(self, raw: bytes) -> bool:
        found = self._decided.get(raw)
        if found is None:
            if len(self._decided) > _KEPT:
                self._decided.clear()
            found = self._decided[raw] = self._covers(raw.decode("latin-1"))
        return found

    def _covers(self, client: str) -> bool:
        return client in self._words or is_in(client, self._networks)


class Slower:
    """A filter for requests that took longer than a time. Raises ValueError."""

    option = "slower"
    field = "duration"

    def __init__(self, text: str) -> None:
        self._limit = parse_seconds(text)

    def selector(self, layout: Layout, place: int) -> Select:  # noqa: ARG002 all formats have the same numbers
        limit = self._limit
        return lambda rows: [row for row in rows if float(row[place]) > limit]

    def texts(self, layout: Layout) -> list[bytes | None]:  # noqa: ARG002 durations have no common bytes
        return []


class Times:
    """A filter for requests that began in a period."""

    option = "since or --until"
    field = "time"

    def __init__(self, period: Period) -> None:
        self._period = period

    def selector(self, layout: Layout, place: int) -> Select:
        return self._period.selector(place, layout.format)

    def texts(self, layout: Layout) -> list[bytes | None]:  # noqa: ARG002 the files are searched by time before
        return []


#: The options with a list of values, in the order in which their bytes are searched, and the filter of each.
FILTERS: Final[dict[str, Callable[[Sequence[str]], Filter]]] = {
    "id": lambda values: Words("id", values),
    "reason": lambda values: Words("reason", values),
    "user": lambda values: Words("user", values),
    "status": Statuses,
    "client": Clients,
    "path": Paths,
    "backend": lambda values: Words("backend", values),
    "route": lambda values: Words("route", values),
    "method": lambda values: Words("method", [value.upper() for value in values]),
}
