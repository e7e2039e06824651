"""Which requests are copied, what a copy has, and when it leaves."""

import logging

import gevent
import pytest

from gproxy.config.types.route_action import Share
from gproxy.http.body import Body
from gproxy.http.framing import CHUNKED, reader
from gproxy.runtime import Runtime
from gproxy.testing import answer, request
from gproxy.upstream import mirror as module
from gproxy.upstream.mirror import MAX_BODY, Mirror


class Wire:
    """Gives a body's bytes, a piece each time."""

    def __init__(self, *pieces):
        self._pieces = list(pieces)
        self.buffer = b""

    def read(self, limit):
        return self._pieces.pop(0)


class Bodies:
    """A next that reads the body of each request."""

    def __init__(self):
        self.seen = []

    def __call__(self, request):
        self.seen.append(request.body.read())
        return answer()(request)


def mirror(first=None, second=None, share=Share.WHOLE):
    return Mirror(
        first or answer(), second or answer(), share=Share(share), timeout=5.0, route="r", throttle=Runtime().throttle
    )


def run(mirrored, *requests):
    for one in requests:
        mirrored(one)
        one.end()
    gevent.sleep(0)


def test_the_first_upstream_answers_and_the_second_gets_a_copy():
    first, second = answer(201), answer(500)
    mirrored = mirror(first, second)
    asked = request("GET", "/x", {"A": "1"})
    assert mirrored(asked).status == 201
    gevent.sleep(0)
    assert second.requests == []  # not before the request is over
    asked.end()
    gevent.sleep(0)
    (copy,) = second.requests
    assert copy is not asked
    assert (copy.method, copy.target, copy.headers.get("a"), copy.id) == ("GET", "/x", "1", "test")


def test_a_copy_is_the_request_as_it_came():
    def first(request):
        request.headers["A"] = "changed"
        request.context["key"] = "value"
        return answer()(request)

    second, asked = answer(), request(headers={"A": "1"})
    asked.client_stream = object()
    run(mirror(first, second), asked)
    (copy,) = second.requests
    assert (copy.headers.get("a"), copy.context, copy.client_stream, copy.upgrade) == ("1", {}, None, None)
    assert copy.deadline is not asked.deadline
    assert copy.deadline.remaining() == pytest.approx(5.0, abs=4.0)


@pytest.mark.parametrize(("millionths", "count"), [(Share.WHOLE, 8), (Share.WHOLE // 4, 2), (1, 0)])
def test_a_share_of_the_requests_is_copied(millionths, count):
    second = answer()
    run(mirror(second=second, share=millionths), *(request() for _ in range(8)))
    assert len(second.requests) == count


def test_an_upgrade_is_not_copied():
    second, asked = answer(), request()
    asked.upgrade = "websocket"
    run(mirror(second=second), asked)
    assert second.requests == []


def test_a_body_is_kept_while_it_passes():
    first, second = Bodies(), Bodies()
    asked = request("POST")
    asked.body = Body(b"", reader(8, Wire(b"half", b"more")), 8)
    run(mirror(first, second), asked)
    assert (first.seen, second.seen) == ([b"halfmore"], [b"halfmore"])


def test_a_body_in_memory_is_copied():
    first, second = Bodies(), Bodies()
    run(mirror(first, second), request("POST", body=b"whole"))
    assert (first.seen, second.seen) == ([b"whole"], [b"whole"])


def test_a_body_that_was_not_read_to_its_end_is_not_copied():
    second, asked = Bodies(), request("POST")
    asked.body = Body(b"", reader(8, Wire(b"half")), 8)
    run(mirror(lambda request: request.body.next_piece(), second), asked)
    assert second.seen == []


def test_a_body_that_was_read_before_is_not_copied():
    first, second, asked = Bodies(), Bodies(), request("POST")
    asked.body = Body(b"", reader(8, Wire(b"half", b"more")), 8)
    asked.body.next_piece()
    run(mirror(first, second), asked)
    assert (first.seen, second.seen) == ([b"more"], [])


def chunked(*pieces):
    wire = Wire(*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n")
    return Body(b"", reader(CHUNKED, wire), None)


@pytest.mark.parametrize(("size", "copied"), [(MAX_BODY, True), (MAX_BODY + 1, False)])
@pytest.mark.parametrize("has_length", [True, False])
def test_a_large_body_is_not_copied(size, copied, has_length):
    first, second, asked = Bodies(), Bodies(), request("POST")
    data = b"x" * size
    asked.body = Body(b"", reader(size, Wire(data)), size) if has_length else chunked(data)
    run(mirror(first, second), asked)
    assert first.seen == [data]
    assert second.seen == ([data] if copied else [])


def test_an_error_of_the_second_upstream_stays_with_it(caplog):
    def second(request):
        raise ValueError("broken")

    caplog.set_level(logging.DEBUG)
    run(mirror(second=second), request())
    assert caplog.messages == ["test: mirrored copy failed: broken"]


def test_the_answer_to_a_copy_is_read_and_the_copy_ended():
    events = []

    def second(request):
        request.at_end(lambda: events.append("end"))
        return answer(200, (events.append(n) or b"x" for n in range(2)))(request)

    run(mirror(second=second), request())
    assert events == [0, 1, "end"]


def test_over_the_limit_copies_are_counted_in_the_log_only(caplog, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    started = []

    def second(request):
        started.append(request)
        gevent.sleep(60)

    mirrored = mirror(second=second)
    run(mirrored, request(), request(), request())
    assert len(started) == 1
    assert caplog.messages == ["route r: request not mirrored: the limit of 1 active copies is reached"]
    mirrored.close()
