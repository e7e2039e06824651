"""The access lines that a worker feeds: at most so many a second, and those that are omitted are counted."""

import pytest

from gproxy.http.exchange import Exchange
from gproxy.introspection.line_tap import LONGEST, MOST, LineTap
from gproxy.runtime.feed import Feed

EXCHANGE = Exchange(0.0, "127.0.0.1", "GET", "/", "HTTP/1.1")


@pytest.fixture
def feed():
    return Feed()


def fields_of(feed):
    return [(fields["line"], fields["omitted"]) for _, _, fields in feed.take(10_000)]


def test_a_flood_is_cut_and_counted(feed):
    now = [5.0]
    tap = LineTap(feed, lambda _: "line", lambda: now[0])
    for _ in range(MOST + 7):
        tap.record(EXCHANGE)
    assert fields_of(feed) == [("line", 0)] * MOST
    now[0] = 6.0
    tap.record(EXCHANGE)
    tap.record(EXCHANGE)
    assert fields_of(feed) == [("line", 7), ("line", 0)]


def test_a_line_that_a_client_makes_too_long_is_omitted(feed):
    lines = iter(["x" * LONGEST, "x" * (LONGEST + 1), "line"])
    tap = LineTap(feed, lambda _: next(lines), lambda: 5.0)
    for _ in range(3):
        tap.record(EXCHANGE)
    assert fields_of(feed) == [("x" * LONGEST, 0), ("line", 1)]


def test_what_was_omitted_is_reported_without_a_further_line(feed):
    now = [5.0]
    tap = LineTap(feed, lambda _: "line", lambda: now[0])
    tap.until = 5.5
    observers = []

    def clock():
        assert observers == [tap]
        return now.pop(0) if len(now) > 1 else now[0]

    for _ in range(MOST + 7):
        tap.record(EXCHANGE)
    feed.take(10_000)
    now[:] = [5.0, 6.0]
    tap._clock = clock
    tap.run(observers)
    assert fields_of(feed) == [("", 7)]
    assert observers == []
