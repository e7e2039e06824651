import pytest

from gproxy.http.exchange import Exchange, without_query
from gproxy.testing import request


@pytest.mark.parametrize(
    ("url", "kept"),
    [("/a?token=1", "/a"), ("/a", "/a"), ("", ""), ("?a=1?b", ""), ("http://h/a?b", "http://h/a")],
)
def test_a_query_is_not_kept(url, kept):
    assert without_query(url) == kept


def test_a_new_request_has_an_exchange_of_what_has_arrived():
    asked = request("POST", "/a?token=1", client="192.0.2.7")
    exchange = asked.exchange
    assert (exchange.method, exchange.target, exchange.protocol) == ("POST", "/a", "HTTP/1.1")
    assert (exchange.client, exchange.started) == ("192.0.2.7", asked.received.time)
    assert (exchange.status, exchange.duration, exchange.tries, exchange.is_tunnel) == (0, 0.0, 0, False)


def test_the_request_and_its_exchange_have_the_same_values():
    asked = request()
    asked.id, asked.client, asked.user, asked.reason = "1", "192.0.2.8", "ann", "backend_reset"
    asked.upstream, asked.backend, asked.tries = "app", "10.0.0.1:80", 2
    exchange = asked.exchange
    assert (exchange.id, exchange.client, exchange.user, exchange.reason) == ("1", "192.0.2.8", "ann", "backend_reset")
    assert (exchange.upstream, exchange.backend, exchange.tries) == ("app", "10.0.0.1:80", 2)
    exchange.backend = ""
    assert asked.backend is None
    asked.backend = None
    assert exchange.backend == ""


def test_a_request_concludes_with_what_handlers_have_left():
    asked = request("GET", "/a", {"Referer": "http://x/y?token=1", "User-Agent": "curl/8"}, b"hello")
    asked.method, asked.path, asked.host = "PUT", "/b", "other.test"
    asked.body.received = 5
    exchange = asked.conclude(201, 0.5, 7)
    assert exchange is asked.exchange
    assert (exchange.status, exchange.duration, exchange.bytes_sent, exchange.bytes_received) == (201, 0.5, 7, 5)
    assert (exchange.referer, exchange.user_agent, exchange.host) == ("http://x/y", "curl/8", "other.test")
    assert (exchange.method, exchange.target, exchange.route) == ("GET", "/a", "")


def test_what_the_attempts_of_a_copy_have_recorded_is_adopted():
    asked, copy = request(), request()
    copy.upstream, copy.backend, copy.tries, copy.reason = "app", "10.0.0.1:80", 3, "backend_reset"
    copy.user, copy.exchange.status, copy.exchange.apptime = "eve", 502, 0.25
    asked.exchange.adopt(copy.exchange)
    assert (asked.upstream, asked.backend, asked.tries, asked.reason) == ("app", "10.0.0.1:80", 3, "backend_reset")
    assert (asked.user, asked.exchange.status, asked.exchange.apptime) == ("", 0, 0.25)


def test_an_unreadable_head_is_an_exchange_with_what_is_readable():
    exchange = Exchange.rejected("192.0.2.1", ("GET", "/a", ""))
    assert (exchange.client, exchange.method, exchange.target, exchange.protocol) == ("192.0.2.1", "GET", "/a", "")
    assert exchange.started > 1_700_000_000
    assert repr(exchange) == "<Exchange GET /a id= status=0>"
