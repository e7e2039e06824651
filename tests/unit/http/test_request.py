import pytest

from gproxy.http.headers import Headers
from gproxy.http.request import Received, request


def test_received_shows_everything_as_it_came():
    fields = Headers([("Connection", "close"), ("host", "a"), ("X", "1"), ("x", "2")])
    received = Received("GET", "/a", 0, fields, "192.0.2.1")
    assert received.headers.items() == [("Connection", "close"), ("host", "a"), ("X", "1"), ("x", "2")]
    assert received.protocol == "HTTP/1.0"
    assert Received("GET", "/", 1, Headers(), "").protocol == "HTTP/1.1"


@pytest.mark.parametrize(
    ("minor", "version", "expected"),
    [
        (0, (), ("HTTP/1.0", "1.0")),
        (1, (), ("HTTP/1.1", "1.1")),
        (1, (None, "HTTP/2.0", "2.0"), ("HTTP/2.0", "2.0")),
    ],
)
def test_received_has_the_version_for_the_log_and_for_via(minor, version, expected):
    received = Received("GET", "/", minor, Headers(), "192.0.2.1", *version)
    assert (received.protocol, received.via) == expected


def test_a_request_made_by_hand():
    asked = request("POST", "/a/b?c=d", {"X-A": "1"}, b"hello")
    assert (asked.method, asked.path, asked.query, asked.host, asked.client) == (
        "POST",
        "/a/b",
        "c=d",
        "gateway.test",
        "192.0.2.1",
    )
    assert asked.body.read() == b"hello"
    assert asked.received.headers == Headers({"X-A": "1", "Host": "gateway.test"})
    assert request("GET", "/", {"Host": "b"}).host == "b"


def test_it_notices_what_handlers_rewrite():
    asked = request("GET", "/a")
    assert not asked.is_rewritten
    asked.query = "x"
    assert not asked.is_rewritten
    for name, value in (("path", "/b"), ("host", "b"), ("method", "PUT")):
        asked = request("GET", "/a")
        setattr(asked, name, value)
        assert asked.is_rewritten


def test_what_is_to_happen_at_the_end_happens_once_and_the_newest_first():
    asked, order = request(), []
    asked.at_end(lambda: order.append(1))
    asked.at_end(lambda: order.append(2))
    asked.end()
    asked.end()
    assert order == [2, 1]


@pytest.mark.parametrize("text", ["10.0.0.1\r\nX-A: 1", "\u0661"])
def test_a_client_that_a_handler_sets_cannot_end_a_line(text):
    made = request()
    with pytest.raises(ValueError, match="is no address"):
        made.client = text
    assert made.client == "192.0.2.1"
