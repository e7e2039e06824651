"""The record of a span that has ended, as a worker feeds it to the monitor: texts, numbers, lists and dicts only."""

from typing import Final, Literal, TypedDict

from gproxy.http.trace import AttributeValue

#: The kind of these records in the feed.
KIND: Final = "span"
#: The most attributes and events of a span, and the longest text of one, in characters.
MOST: Final = 64
LONGEST: Final = 1024
#: The name of the scope of the gateway's own spans.
SCOPE: Final = "gproxy"

Kind = Literal["server", "internal", "client", "producer", "consumer"]
Attributes = dict[str, AttributeValue]
#: A name, the Unix time in nanoseconds, and attributes.
Event = tuple[str, int, Attributes]


class SpanRecord(TypedDict):
    """A span: its ids in hexadecimal digits, empty without a parent, and its times as Unix time in nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: Kind
    start: int
    end: int
    attributes: Attributes
    events: list[Event]
    #: The trace id and span id of each linked span.
    links: list[tuple[str, str]]
    #: The description of the error; None if the span has not failed.
    error: str | None
    scope: str


def value_of(value: object) -> AttributeValue:
    """Return the value of an attribute as a record can carry it: bounded, and a text unless it is a number."""
    if isinstance(value, bool | int | float) and type(value) in {bool, int, float}:
        return value if not isinstance(value, int) or -(1 << 63) <= value < 1 << 63 else str(value)[:LONGEST]
    return str(value)[:LONGEST]
