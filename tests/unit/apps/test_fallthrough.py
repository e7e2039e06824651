"""The fall-through: the upstream gets what the app does not know, with its body."""

from contextlib import suppress

import pytest

from gproxy.apps.fallthrough import Fallthrough, RecordedReads
from gproxy.http.body import Body
from gproxy.http.errors import HTTPError
from gproxy.http.request import request as made_request
from gproxy.http.response import Response


class Source:
    """A body that arrives in these pieces."""

    trailers = ()

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    @property
    def done(self):
        return not self.pieces

    def next_piece(self):
        return self.pieces.pop(0) if self.pieces else b""


def old(request):
    request.body.rewind()
    return Response(200, b"old " + request.body.read())


def app(environ, start_response):
    length = len(environ["wsgi.input"].read())
    start_response("200 OK" if environ["PATH_INFO"] == "/new" else "404 Not Found", [])
    return [b"new %d" % length]


def post(target, *pieces, length=None):
    request = made_request("POST", target)
    request.body = Body(b"", Source(*pieces), length)
    return request


@pytest.fixture
def both(mounted):
    return mounted(app, old, (10, 0), upstream="old", fallthrough="404")


def test_the_app_answers_what_it_knows(both):
    assert both(post("/new", b"abc")).read() == b"new 3"


def test_the_upstream_gets_the_rest_with_its_body(both, runtime):
    request = post("/else", b"abc", b"def")
    assert both(request).read() == b"old abcdef"
    assert request.exchange.backend == ""


def test_a_longer_body_makes_the_response_of_the_app_final(both):
    response = both(post("/else", b"abcdef", b"ghijkl"))
    assert (response.status, response.read()) == (404, b"new 12")


def test_a_declared_length_beyond_the_bound_is_not_recorded(both):
    assert both(post("/else", b"abcdef", b"ghijkl", length=12)).status == 404


def test_the_response_of_the_app_is_closed(mounted):
    closed = []

    class Result(list):
        def close(self):
            closed.append(True)

    def close_me(environ, start_response):
        start_response("404 Not Found", [])
        return Result([b""])

    assert mounted(close_me, old, upstream="old", fallthrough="404")(made_request()).status == 200
    assert closed == [True]


def test_the_upstream_gets_nothing_as_the_rest_of_an_invalid_body(runtime):
    read = RecordedReads(lambda request: request.body.read(), runtime, 100, 0)

    def swallow(request):
        with suppress(HTTPError):
            read(request)
        return Response(404)

    request = post("/else", b"abc", b"def")
    request.body.limit = 5
    with pytest.raises(HTTPError, match="413"):
        Fallthrough(swallow, old, status=404, count=lambda: None)(request)
