"""Interim responses end to end: Expect and 100, early hints, and what nobody asked for."""

import json
import threading

import pytest

from gproxy.testing.backends import reply

BACKENDS = "one"
INI = """
[gateway]
handlers = health, jwt
timeout = 5s
[handler:health]
cache = 0s
[handler:jwt]
algorithms = HS256
secret = 0123456789abcdef0123456789abcdef
[route:public]
path = /
skip = jwt
upstream = one
[route:private]
path = /private
upstream = one
[upstream:one]
backends = {one}
max_fails = 0
"""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FRAMINGS = {
    "length": ("Content-Length: 4", b"body"),
    "chunked": ("Transfer-Encoding: chunked", b"4\r\nbody\r\n0\r\n\r\n"),
}


def expecting(path, framing="length", version="1.1"):
    return f"PUT {path} HTTP/{version}\r\nHost: a\r\n{FRAMINGS[framing][0]}\r\nExpect: 100-continue\r\n\r\n"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_backends_100_is_passed_on(play, framing):
    """The client sends no body before it, and it is the backend's: it comes when the backend says so."""
    said = threading.Event()

    def act(peer, request):
        assert request["expect"] == "100-continue"
        assert not peer.buffer
        said.set()
        peer.send(CONTINUE)
        reply(b"thanks")(peer, request)

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(expecting("/yes", framing))
        interim = wire.read_response()
        assert said.is_set()
        assert interim.status == 100
        assert not interim.fields
        wire.send(FRAMINGS[framing][1])
        answer = wire.read_response()
        assert (answer.status, answer.body, answer["connection"]) == (200, b"thanks", None)
        play.one.act = reply(b"next")
        wire.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"next"
    assert play.one.requests[0].body == b"body"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("status", ["417 Expectation Failed", "401 Unauthorized"])
def test_a_backend_that_refuses_at_once(play, protocol, status, framing):
    """Its answer is the first thing the client hears, so the body is never sent."""
    play.one.act = lambda peer, request: (
        peer.send(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"),
        peer.read_all(),
        peer.close(),
    )
    with play.gateway.connect() as wire:
        wire.send(expecting(f"/no/{framing}/{status[:3]}", framing))
        answer = wire.read_response()
        assert (answer.status, answer.body) == (int(status[:3]), b"no")
        assert answer["connection"] == ("close" if protocol == "http1" else None)
        assert wire.is_closed()
    line = play.gateway.line(f"/no/{framing}/{status[:3]}")
    assert (line["status"], line["reqsize"], line["reason"]) == (status[:3], "0", "-")


def test_a_backend_that_ignores_it_gets_the_body_after_a_while(play, stopwatch):
    with play.gateway.connect() as wire:
        with stopwatch:
            wire.send(expecting("/ignores"))
            assert wire.read_response().status == 100
        assert 0.9 < stopwatch.seconds < 1.5
        wire.send("body")
        assert wire.read_response().body == b"one"
    assert play.one.requests[0].body == b"body"


def test_a_client_that_does_not_wait(play):
    """The body comes right behind the head: no 100 is owed, the backend is not asked first."""
    with play.gateway.connect() as wire:
        wire.send(expecting("/impatient") + "body")
        answer = wire.read_response()
    assert (answer.status, answer.body) == (200, b"one")
    assert play.one.requests[0].body == b"body"
    assert play.one.requests[0]["expect"] is None


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_client_that_loses_patience(play, framing, stopwatch):
    """It sends the body without having heard 100; it goes on to the backend at once, and no 100 comes back."""
    act_now = threading.Event()

    def act(peer, request):
        act_now.set()
        reply(b"late")(peer, request)

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(expecting("/impatient/2", framing))
        assert act_now.wait(5)
        with stopwatch:
            wire.send(FRAMINGS[framing][1])
            answer = wire.read_response()
        assert (answer.status, answer.body) == (200, b"late")
    assert stopwatch.seconds < 0.5
    assert play.one.requests[0].body == b"body"


def test_a_handler_refuses_without_100(play, protocol):
    with play.gateway.connect() as wire:
        wire.send(expecting("/private"))
        answer = wire.read_response()
        assert answer.status == 401
        assert json.loads(answer.body)["status"] == 401
        assert answer["connection"] == ("close" if protocol == "http1" else None)
        assert wire.is_closed()
    assert not play.one.requests
    assert play.gateway.line("/private")["reason"].startswith("auth")


def test_http10_cannot_expect(play):
    """RFC 9110 section 10.1.1: the expectation is ignored, and no 1xx is sent."""
    with play.gateway.connect() as wire:
        wire.send(expecting("/http10", version="1.0") + "body")
        answer = wire.read_response()
    assert (answer.status, answer.body) == (200, b"one")
    assert play.one.requests[0]["expect"] is None


def hinting(*statuses):
    def act(peer, request):
        peer.read_body(request)
        for status in statuses:
            peer.send(
                f"HTTP/1.1 {status}\r\nLink: </a.css>; rel=preload\r\nConnection: x-secret\r\nX-Secret: 1\r\n\r\n"
            )
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal")

    return act


def test_early_hints_are_passed_on_as_they_come(play):
    heard = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n\r\n")
        assert heard.wait(5)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal")

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        hints = wire.read_response()
        assert (hints.status, hints.fields) == (103, [("link", "</a.css>; rel=preload"), ("link", "</b.js>")])
        heard.set()
        answer = wire.read_response()
        assert (answer.status, answer.body, answer["link"]) == (200, b"final", None)


def test_several_interim_responses(play):
    play.one.act = hinting("102 Processing", "103 Early Hints", "103 Early Hints")
    with play.gateway.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        answers = [wire.read_response() for _ in range(4)]
    assert [answer.status for answer in answers] == [102, 103, 103, 200]
    assert answers[0]["x-secret"] is None  # named by Connection, so it is this hop's only
    assert answers[0]["connection"] is None


def test_http10_clients_get_no_interim_response(play):
    play.one.act = hinting("103 Early Hints")
    answer = play.gateway.ask("GET / HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"final")


@pytest.mark.parametrize("upload", ["", "Content-Length: 4\r\n\r\nbody"])
def test_a_100_that_nobody_asked_for_is_not_passed_on(play, upload):
    play.one.act = hinting("100 Continue", "100 Continue")
    with play.gateway.connect() as wire:
        wire.send(f"{'POST' if upload else 'GET'} / HTTP/1.1\r\nHost: a\r\n" + (upload or "\r\n"))
        answer = wire.read_response()
    assert (answer.status, answer.body) == (200, b"final")


def test_an_expectation_is_answered_once_however_often_the_backend_says_it(play):
    def act(peer, request):
        peer.send(CONTINUE + CONTINUE)
        reply(b"thanks")(peer, request)

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(expecting("/twice"))
        assert wire.read_response().status == 100
        wire.send("body")
        assert wire.read_response().body == b"thanks"
