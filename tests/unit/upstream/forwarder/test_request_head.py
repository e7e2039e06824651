"""The head fields for the number of attempts and the remaining time."""

import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.request import Received, request
from gproxy.testing import Clock
from gproxy.upstream.forwarder.request_head import AnnotatingRequestHeadWriter, RequestHeadWriter

AUTHORITY = "a:1"


def fields(asked, **given):
    telling = AnnotatingRequestHeadWriter(host="client", **{"retry_header": None, "deadline_header": None, **given})
    head = telling(asked, AUTHORITY)
    assert head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1
    return [line for line in head.decode().split("\r\n") if line.startswith(("X-Left", "X-Tries"))]


def asked(left=None, **headers):
    made = request("GET", headers=headers)
    made.tries = 3
    clock = Clock()
    made.deadline = Deadline(clock=clock)
    if left is not None:
        made.deadline.set(clock.now + left)
    return made


@pytest.mark.parametrize(
    ("received", "left", "line"),
    [
        (None, 2.5, ["X-Left: 2500"]),
        ("100", 2.5, ["X-Left: 100"]),
        ("9000", 2.5, ["X-Left: 2500"]),
        ("100", None, ["X-Left: 100"]),
        (None, None, []),
        (None, 0, ["X-Left: 0"]),
        *((text, 2.5, ["X-Left: 2500"]) for text in ("", "-5", "1.5", "soon", "9" * 100)),
    ],
)
def test_the_time_that_is_left(received, left, line):
    """Less if a trusted proxy says so; what others say has not come so far."""
    headers = {} if received is None else {"X-Left": received}
    assert fields(asked(left, **headers), deadline_header="X-Left") == line


def test_the_attempts_before():
    assert fields(asked(1, **{"x-tries": "9"}), retry_header="X-Tries") == ["X-Tries: 2"]


def test_both():
    lines = fields(asked(1), retry_header="X-Tries", deadline_header="X-Left")
    assert lines == ["X-Tries: 2", "X-Left: 1000"]


def test_what_a_handler_says_of_an_upgrade_is_not_ours_to_pass_on():
    plain, websocket = asked(Upgrade="h2c"), asked(Upgrade="h2c")
    websocket.upgrade = "websocket"
    heads = [RequestHeadWriter(host="client")(one, AUTHORITY).decode().lower() for one in (plain, websocket)]
    assert ["h2c" in head for head in heads] == [False, False]
    assert ["upgrade: websocket" in head for head in heads] == [False, True]


@pytest.mark.parametrize(
    ("headers", "client", "line"),
    [
        ({}, "192.0.2.7", "X-Real-IP: 192.0.2.7"),
        ({}, "unix", "X-Real-IP: unknown"),
        ({"x-real-ip": "10.0.0.1"}, "192.0.2.7", "X-Real-IP: 10.0.0.1"),
    ],
)
def test_the_client_is_in_x_real_ip_unless_a_handler_has_set_it(headers, client, line):
    one = asked(**headers)
    one.client = client
    head = RequestHeadWriter(host="client")(one, AUTHORITY).decode()
    assert [found for found in head.split("\r\n") if found.lower().startswith("x-real-ip")] == [line]


@pytest.mark.parametrize(
    ("minor", "version", "line"),
    [
        (0, (), "Via: 1.0 gproxy-abc"),
        (1, (), "Via: 1.1 gproxy-abc"),
        (1, ("HTTP/2.0", "2.0"), "Via: 2.0 gproxy-abc"),
    ],
)
@pytest.mark.parametrize("before", ["", "1.1 other"])
def test_via_has_the_version_of_the_received_request(minor, version, line, before):
    one = request(headers={"Via": before} if before else {})
    one.received = Received("GET", "/", minor, one.headers, "192.0.2.1", None, *version)
    head = RequestHeadWriter(host="client", instance="abc")(one, AUTHORITY).decode()
    expected = line.replace("Via: ", f"Via: {before}, ") if before else line
    assert [found for found in head.split("\r\n") if found.startswith("Via")] == [expected]


@pytest.mark.parametrize(
    "headers", [{}, {"A": "1", "Via": "1.1 other", "X-Forwarded-For": "192.0.2.9", "TE": "trailers"}]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_fields_are_those_of_the_head(headers, method):
    writer = RequestHeadWriter(host="client", instance="abc", stripped="/shop", change=lambda path: f"/x{path}")
    asked = request(method, "/a?b=c", headers=headers)
    lines = writer.lines(asked, AUTHORITY)
    assert [f"{method} /x/a?b=c HTTP/1.1", *lines, "", ""] == writer(asked, AUTHORITY).decode().split("\r\n")
    assert writer.target(asked) == "/x/a?b=c"
