"""What the head of a stream becomes: a request, a rejection, or only a record."""

import pytest

from gproxy.http.errors import BadMessage
from gproxy.http.h2.events import GoAwayReceived
from gproxy.http.h2.frames import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    INITIAL_WINDOW_SIZE,
    MAX_STREAM_ID,
    NO_ERROR,
    PROTOCOL_ERROR,
    settings,
)

pytestmark = pytest.mark.timeout(20)


def goaways(some):
    return [(one.last_id, one.code) for one in some.events if isinstance(one, GoAwayReceived)]


def test_a_request_is_what_http1_would_have_made_of_it(scene):
    some = scene()
    stream = some.request("GET", "/a/b?c=d", [("x-one", "1"), ("cookie", "a=1"), ("cookie", "b=2")])
    assert some.response(stream)[::2] == (200, b"ok")
    (request,) = some.gateway.requests
    assert (request.method, request.path, request.query, request.host) == ("GET", "/a/b", "c=d", "gateway.test")
    assert request.headers.items() == [("Host", "gateway.test"), ("x-one", "1"), ("cookie", "a=1; b=2")]
    received = request.received
    assert (received.protocol, received.via, received.minor, received.peer) == ("HTTP/2.0", "2.0", 1, "192.0.2.1")
    assert (request.scheme, request.body.length, request.upgrade) == ("http", 0, None)
    (exchange,) = some.gateway.recorded
    assert (exchange.protocol, exchange.status, exchange.bytes_sent) == ("HTTP/2.0", 200, 2)


def test_a_malformed_request_is_recorded_and_the_others_go_on(scene):
    some = scene()
    bad = some.request(fields=[("connection", "close")])
    assert some.reset_code(bad) == PROTOCOL_ERROR
    assert some.recorded() == [(400, "")]
    assert some.gateway.rejected == [(400, "192.0.2.1", ("GET", "/", "HTTP/2.0"))]
    assert some.response(some.request())[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/" + "x" * 20_000, (), 414),
        ("GET", "/", [(f"x-{number}", "1") for number in range(200)], 431),
        ("GET", "/", [("x", "1" * 40_000)], 431),
        ("GET", "/", [("x", "1" * 70_000)], 0),
        ("POST", "/", [("expect", "magic")], 417),
        ("POST", "/", [("content-length", "1000")], 413),
    ],
    ids=["target", "fields", "head", "endless head", "expect", "length"],
)
def test_a_request_over_a_limit_gets_its_status(scene, method, path, fields, status):
    some = scene(max_body=999)
    stream = some.request(method, path, fields, end=False)
    if not status:
        some.read_until(lambda: goaways(some))
        assert goaways(some) == [(0, ENHANCE_YOUR_CALM)]
        return
    assert some.response(stream)[0] == status
    assert some.reset_code(stream) == NO_ERROR
    assert [one[0] for one in some.gateway.rejected] == [status]
    assert some.response(some.request())[0] == 200


def test_connect_is_not_supported(scene):
    some = scene()
    block = b"\x02\x07CONNECT\x01\x04test"
    some.send_raw(b"\x00\x00%c\x01\x05\x00\x00\x00\x01%b" % (len(block), block))
    assert some.recorded() == [(501, "")]


def test_a_request_that_is_reset_at_once_is_never_dispatched(scene):
    some = scene()
    fields = some.headers([("user-agent", "browser"), ("referer", "http://a.test/?secret")])
    stream = some.client.request("GET", "http", "gateway.test", "/", fields, end=True)
    some.client.reset(stream, CANCEL)
    some.send()
    assert some.recorded() == [(499, "client_gone")]
    assert some.gateway.requests == some.gateway.rejected == []
    (line,) = some.gateway.recorded
    assert (line.host, line.user_agent, line.referer) == ("gateway.test", "browser", "http://a.test/")


def test_what_the_connection_knows_of_the_client_is_added(scene):
    some = scene()
    some.accept = lambda host, headers: headers.put("X-Client", "x-client", host) or True
    some.response(some.request(fields=[("x-client", "spoofed")]))
    assert some.gateway.requests[0].headers["x-client"] == "gateway.test"
    assert some.gateway.requests[0].received.headers["x-client"] == "spoofed"


def test_a_rejected_request_that_turns_out_to_be_malformed_is_no_failure(scene, caplog):
    some = scene()
    some.send_raw(settings([(INITIAL_WINDOW_SIZE, 0)]))  # the response waits for a window
    fields = [("expect", "magic"), ("content-length", "5")]
    stream = some.request("POST", fields=fields, body=b"", end=False)
    some.until(lambda: some.gateway.rejected)
    some.client.send_data(stream, b"longer", end=False)
    some.send()
    assert some.reset_code(stream) == PROTOCOL_ERROR
    assert [one[0] for one in some.recorded()] == [417]
    assert "Traceback" not in caplog.text


def test_a_misdirected_request_is_rejected_and_others_go_on(scene):
    some = scene()

    def accept(host, headers):
        if host == "other.test":
            raise BadMessage("another connection, please", 421)
        return True

    some.accept = accept
    wrong = some.client.request("GET", "http", "other.test", "/", some.headers(), end=True)
    some.send()
    assert some.response(wrong)[0] == 421
    assert some.response(some.request())[0] == 200


def test_the_last_request_of_a_connection_is_answered(scene):
    some = scene()
    some.accept = lambda host, headers: False
    stream = some.request()
    assert some.response(stream)[0] == 200
    some.read_until(lambda: some.is_closed)
    assert (MAX_STREAM_ID, NO_ERROR) not in goaways(some)
    assert goaways(some)[0] == (1, NO_ERROR)
