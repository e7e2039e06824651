"""What a failed handler has changed in a request and in a response is undone."""

import gevent
import gevent.event
import pytest

from gproxy.http.body import Body
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.testing import answer, request

from .conftest import Scene


def test_everything_that_a_rejecting_handler_changes_is_undone(report):
    def spoil(request, following):
        request.body.buffer(100)
        request.body.read()
        request.body = Body(b"other")
        request.headers["X-Own"] = "spoiled"
        request.method, request.host, request.path, request.query = "PUT", "other.test", "/other", "b=2"
        request.user, request.context = "mallory", {"key": "spoiled"}
        request.identity, request.upgrade = Identity(user="mallory"), None
        request.client, request.id, request.reason, request.scheme = "198.51.100.9", "spoiled", "no", "gopher"
        request.deadline.on_endless = list
        raise HTTPError(403)

    report.act = spoil
    asked = request("POST", "/path?a=1", {"X-Own": "mine"}, b"whole")
    asked.context["key"] = "mine"
    asked.upgrade = "websocket"
    report.ask(asked)
    assert (asked.method, asked.host, asked.path, asked.query) == ("POST", "gateway.test", "/path", "a=1")
    assert (asked.headers["X-Own"], asked.user, asked.context) == ("mine", "", {"key": "mine"})
    assert (asked.identity, asked.upgrade) == (None, "websocket")
    assert (asked.client, asked.id, asked.reason, asked.scheme) == ("192.0.2.1", "test", "", "http")
    assert asked.deadline.on_endless is None
    assert asked.body.read() == b"whole"
    assert asked.target == asked.received.target
    assert not asked.is_rewritten


def test_a_limit_of_the_body_that_a_failed_handler_has_set_is_undone(opened):
    def limit(request, following):
        request.body.limit = 1
        raise LookupError

    opened.act = limit
    asked = request("POST", body=b"whole")
    asked.body.limit = 100
    assert opened.ask(asked)[1].status == 200
    assert asked.body.limit == 100


def test_a_handler_that_passes_may_change_all(report):
    def tag(request, following):
        request.headers["X-Tag"] = "1"
        response = following(request)
        response.body = b"mine"
        return response

    report.act = tag
    asked, response = report.ask()
    assert (asked.headers["X-Tag"], response.read(), asked.exchange.report) == ("1", b"mine", "")


class Reader:
    """A body that arrives from the client."""

    done, trailers = False, ()

    def __init__(self):
        self._pieces = [b"rest"]

    def next_piece(self):
        self.done = not self._pieces
        return self._pieces.pop() if self._pieces else b""


@pytest.mark.parametrize("error", [HTTPError(403), ValueError()])
def test_a_request_whose_body_is_consumed_cannot_go_on(report, error, caplog):
    def consume(request, following):
        request.body.read()
        raise error

    report.act = consume
    asked = request("POST")
    asked.body = Body(b"first", Reader(), 9)
    _, response = report.ask(asked)
    assert response.status == (403 if isinstance(error, HTTPError) else 500)
    assert report.last.requests == []
    assert "body.buffer would keep it" in caplog.text


@pytest.mark.parametrize("options", [{"mode": "report"}, {"on_error": "open"}])
def test_the_response_stays_as_next_gave_it(options):
    def spoil(request, following):
        response = following(request)
        response.status, response.phrase = 500, "Spoiled"
        response.headers["X-Theirs"] = "no"
        response.body = b"spoiled"
        raise ValueError

    scene = Scene(**options)
    scene.act = spoil
    _, response = scene.ask()
    assert (response.status, response.phrase, response.headers["X-Theirs"]) == (200, "", "yes")
    assert response.read() == b"theirs"
    assert len(scene.last.requests) == 1


@pytest.mark.parametrize("read", [0, 1, 2, 3])
def test_a_stream_is_whole_whatever_a_failed_handler_has_read_of_it(opened, read):
    def look(request, following):
        pieces = iter(following(request).pieces)
        for _ in range(read):
            next(pieces, None)
        raise ValueError

    opened.act = look
    opened.last = answer(200, (piece for piece in (b"one", b"two")))
    assert opened.ask()[1].read() == b"onetwo"


def test_a_stream_of_a_handler_that_succeeds_is_the_backends_own(opened):
    body = iter([b"one"])
    opened.last = answer(200, body)
    assert opened.ask()[1].raw_body is body


class Piece(bytes):
    """A piece that counts when it is gone."""

    gone = 0

    def __del__(self):
        Piece.gone += 1


def test_the_pieces_of_a_stream_are_not_kept_once_the_handler_has_returned(opened):
    def shout(request, following):
        response = following(request)
        response.body = (bytes(piece).upper() for piece in response.pieces)
        return response

    opened.act = shout
    opened.last = answer(200, (Piece(b"one") for _ in range(3)))
    pieces = iter(opened.ask()[1].pieces)
    assert [next(pieces), next(pieces)] == [b"ONE", b"ONE"]
    assert Piece.gone >= 1


def test_a_request_whose_next_still_runs_in_another_greenlet_cannot_go_on(opened):
    def impatient(request, following):
        gevent.spawn(following, request)
        gevent.sleep(0)
        raise LookupError

    answered = gevent.event.Event()
    calls = []

    def slow(request):
        calls.append(request)
        answered.wait()
        return answer()(request)

    opened.act, opened.last = impatient, slow
    assert opened.ask()[1].status == 500
    answered.set()
    assert len(calls) == 1
