"""The report about many comparisons: differences by route and kind, each with its first example, and times."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from gproxy.config.types.units import plural
from gproxy.recording.diff import Comparison, Difference

#: The percentiles of times, by their names.
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: Those that `slower` judges: the third one is too rare an event in a short recording.
_JUDGED: Final = ("p50", "p95")
#: The kind of difference of an exchange that got no response.
NO_RESPONSE: Final = "no response"
_GROWTH: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)%")
#: Characters by which a server or a file could command the terminal of the user, and how they are shown.
SHOWN: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in b"\n\t"}
_STATUSES: Final = ("status", NO_RESPONSE)


@dataclass(frozen=True, slots=True)
class Replayed:
    """An exchange that was replayed: its number in the recording, its request and route, what was found, its times."""

    number: int
    request: str
    route: str
    comparison: Comparison
    #: Seconds, as recorded and of now; None if one of them is not known.
    before: float | None = None
    after: float | None = None


@dataclass(slots=True)
class _Group:
    """The differences of one kind on one route."""

    count: int
    number: int
    request: str
    example: Difference


@dataclass(frozen=True)
class FailOn:
    """The findings that make the exit code 1."""

    kinds: frozenset[str] = frozenset({"diff"})
    #: The growth of a time that is too much; None: any is good.
    slower: float | None = None

    @classmethod
    def parse(cls, text: str) -> "FailOn":
        """Return what the text names: `diff`, `status`, `slower:20%`, several by comma. Raises ValueError."""
        kinds, slower = set(), None
        for word in (part.strip() for part in text.split(",")):
            kind, _, share = word.partition(":")
            if kind == "slower" and share:
                slower = _percent(share)
            elif word in ("diff", "status"):
                kinds.add(word)
            else:
                raise ValueError(f"expected diff, status or slower:20%; found {word!r}")
        return cls(frozenset(kinds), slower)


def _percent(text: str) -> float:
    if not (match := _GROWTH.fullmatch(text)):
        raise ValueError(f"slower: expected a share such as 20%; found {text!r}")
    return float(match[1]) / 100


@dataclass
class DiffReport:
    """The findings of a replay. Texts of `notes` say what could not be restored; `skipped` counts what was not sent."""

    recorded: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.replayed = 0
        self.different = 0
        self._groups: dict[tuple[str, str], _Group] = {}
        self._bodies: Counter[str] = Counter()
        self._hidden = 0
        #: The number of exchanges without credentials, which were rejected.
        self.denied = 0
        self._times: dict[str, list[float]] = {"before": [], "after": []}

    def add(self, one: Replayed) -> None:
        """Add an exchange; examples are those of the first ones."""
        self.replayed += 1
        self.denied += one.comparison.denied
        self.different += bool(one.comparison.differences)
        self._hidden += one.comparison.hidden
        if one.comparison.body_skipped:
            self._bodies[one.comparison.body_skipped] += 1
        if one.before is not None and one.after is not None:
            self._times["before"].append(one.before)
            self._times["after"].append(one.after)
        kinds: dict[str, Difference] = {}
        for difference in one.comparison.differences:
            kinds.setdefault(difference.kind, difference)
        for kind, example in kinds.items():
            group = self._groups.setdefault((one.route, kind), _Group(0, one.number, one.request, example))
            group.count += 1

    def fails(self, fail_on: FailOn) -> bool:
        """Return whether the replay has found what must not be."""
        if "diff" in fail_on.kinds and self._groups:
            return True
        if "status" in fail_on.kinds and any(kind in _STATUSES for _, kind in self._groups):
            return True
        return fail_on.slower is not None and self._growth() > fail_on.slower

    def _growth(self) -> float:
        times = self.times()
        grown = [times["after"][name] / (times["before"][name] or 1e-6) - 1 for name in _JUDGED] if times else []
        return max(grown, default=0.0)

    def times(self) -> dict[str, dict[str, float]]:
        """Return the percentiles of times in seconds, before and after; empty if none are known."""
        if not self._times["before"]:
            return {}
        return {side: _percentiles(values) for side, values in self._times.items()}

    def as_json(self) -> str:
        """Return the report for machines, one JSON object."""
        return json.dumps(
            {
                "recorded": self.recorded,
                "replayed": self.replayed,
                "different": self.different,
                "skipped": dict(self.skipped),
                "differences": list(self._rows()),
                "not_compared": {"denied": self.denied, "hidden_values": self._hidden, "bodies": dict(self._bodies)},
                "times": self.times(),
                "notes": self.notes,
            }
        )

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        for (route, kind), group in sorted(self._groups.items()):
            example = {"exchange": group.number, "request": group.request}
            values = {"before": group.example.before, "after": group.example.after}
            yield {"route": route, "kind": kind, "count": group.count, "example": {**example, **values}}

    def as_text(self) -> str:
        """Return the report for people."""
        lines = [*self._replayed(), *self._differences(), *self._time_table(), *self._limits(), self._verdict()]
        return "\n".join(lines).translate(SHOWN)

    def _replayed(self) -> Iterable[str]:
        yield f"{self.replayed} of {plural(self.recorded, 'exchange')} replayed"
        yield from (f"  not sent: {count} {reason}" for reason, count in sorted(self.skipped.items()))

    def _differences(self) -> Iterable[str]:
        last = None
        for (route, kind), group in sorted(self._groups.items()):
            if route != last:
                yield f"\nroute {route or '-'}"
                last = route
            example = group.example
            yield f"  {kind}: {plural(group.count, 'exchange')}"
            yield f"    first: exchange {group.number}, {group.request}"
            yield from (f"    {side} {text}" for side, text in (("-", example.before), ("+", example.after)) if text)

    def _time_table(self) -> Iterable[str]:
        times = self.times()
        if times:
            yield f"\n{'time':8}" + "".join(f"{name:>12}" for name in SHARES)
            yield from (_time_row(side, values) for side, values in times.items())

    def _limits(self) -> Iterable[str]:
        lines = list(self.notes)
        if self.denied:
            lines.append(
                f"{plural(self.denied, 'exchange')} not compared: rejected, because the recording does not have the "
                f"credentials; --sign or --set 'Authorization: …' gives others"
            )
        if self._hidden:
            lines.append(f"{plural(self._hidden, 'value')} not compared: the recording has pseudonyms in their place")
        lines += [f"{_bodies(count)} not compared: {why}" for why, count in sorted(self._bodies.items())]
        if lines:
            yield ""
            yield from (f"note: {line}" for line in lines)

    def _verdict(self) -> str:
        if not self._groups:
            return "\nno difference"
        return f"\n{plural(self.different, 'exchange')} of {self.replayed} with differences"


def _bodies(count: int) -> str:
    return "1 body" if count == 1 else f"{count} bodies"


def _time_row(side: str, values: Mapping[str, float]) -> str:
    return f"{side:8}" + "".join(f"{value * 1000:9.2f} ms" for value in values.values())


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the lowest time that is not below this share of all, for each share."""
    ordered = sorted(values)
    return {name: round(ordered[max(1, ceil(share * len(ordered))) - 1], 6) for name, share in SHARES.items()}
