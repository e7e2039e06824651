"""A stream: its states, held against the diagram of RFC 9113 section 5.1, and its priority (RFC 9218)."""

import pytest

from gproxy.http.h2 import stream
from gproxy.http.h2.stream import CLOSED, HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE, OPEN, Stream, parse_priority


@pytest.mark.parametrize(
    ("state", "change", "after"),
    [
        (OPEN, stream.SENT_END, HALF_CLOSED_LOCAL),
        (OPEN, stream.RECEIVED_END, HALF_CLOSED_REMOTE),
        (OPEN, stream.RESET, CLOSED),
        (HALF_CLOSED_LOCAL, stream.RECEIVED_END, CLOSED),
        (HALF_CLOSED_LOCAL, stream.RESET, CLOSED),
        (HALF_CLOSED_REMOTE, stream.SENT_END, CLOSED),
        (HALF_CLOSED_REMOTE, stream.RESET, CLOSED),
        (CLOSED, stream.RESET, CLOSED),
    ],
)
def test_the_states_are_those_of_the_diagram(state, change, after):
    one = Stream(1, state, 65535, 65535)
    one.move(change)
    assert one.state == after


@pytest.mark.parametrize(
    ("state", "may_send", "may_receive", "is_closed"),
    [
        (OPEN, True, True, False),
        (HALF_CLOSED_LOCAL, False, True, False),
        (HALF_CLOSED_REMOTE, True, False, False),
        (CLOSED, False, False, True),
    ],
)
def test_a_state_says_who_may_send(state, may_send, may_receive, is_closed):
    one = Stream(1, state, 65535, 65535)
    assert (one.may_send, one.may_receive, one.is_closed) == (may_send, may_receive, is_closed)


@pytest.mark.parametrize(
    ("value", "urgency", "incremental"),
    [
        ("", 3, False),
        ("u=0", 0, False),
        ("u=7, i", 7, True),
        ("i,u=5", 5, True),
        ("i=?1", 3, True),
        ("i=?0", 3, False),
        ("u=1;x=2, i;y", 1, True),
        ("u=8", 3, False),
        ("u=-1", 3, False),
        ("u=10", 3, False),
        ("u=\u0661", 3, False),
        ("u=", 3, False),
        ("u", 3, False),
        ("U=1", 3, False),
        ("i=1", 3, False),
        ("u=2, u=4", 4, False),
        (" u=2\t,\ti ", 2, True),
        (",,;=", 3, False),
        ("x=1, u=6", 6, False),
    ],
)
def test_a_priority_is_a_dictionary(value, urgency, incremental):
    assert parse_priority(value) == (urgency, incremental)
    one = Stream(1, OPEN, 0, 0)
    one.prioritize(value)
    assert (one.urgency, one.incremental) == (urgency, incremental)


def test_priorities_without_end_take_no_memory_without_end():
    for number in range(1000):
        parse_priority(f"u=1, x={number}")
    assert parse_priority("u=1," * 10_000) == (1, False)
    assert len(stream._priorities) <= 64
    assert max(map(len, stream._priorities), default=0) <= 128
