"""The phase of a request: what it waits for, as a handler of the same process reads it."""

import json
import socket
from contextlib import contextmanager

import pytest

from gproxy.testing.backends import Held, switching
from gproxy.testing.gateway import eventually

BACKENDS = "one queued later"
INI = """
[gateway]
handlers = health, watched
timeout = 10m
[handler:health]
cache = 0s
[handler:watched]
use = handlers:watched
[handler:waits]
use = handlers:waits
[handler:reads]
use = handlers:reads
[handler:phases]
use = handlers:phases
[route:waits]
path = /handler
handlers = waits
respond = 200
[handler:release]
use = handlers:release
[route:release]
path = /release
handlers = release
respond = 200
[route:phases]
path = /phases
handlers = phases
respond = 200
[route:one]
path = /
upstream = one
[route:reads]
path = /read
upstream = one
handlers = reads
[route:queued]
path = /queue
upstream = queued
[route:later]
path = /pause
upstream = later
[route:unreachable]
path = /connect
upstream = unreachable
[route:hedged]
path = /hedged
upstream = hedged
[upstream:one]
backends = {one}
[upstream:queued]
backends = {queued}
max_requests = 1
queue = 1
queue_timeout = 10m
[upstream:later]
backends = {later}
retry_on = 503
retry_after = yes
[upstream:unreachable]
backends = unix:{tmp}/full
connect_timeout = 10m
[upstream:hedged]
backends = {one}
hedge = 1ms
"""
HANDLERS = """
import json
from gevent.event import Event
from gproxy import Response
from gproxy.http.phase import PHASES

requests, go = {}, Event()


def watched(request, next):
    requests[request.path] = request
    request.at_end(lambda: requests.pop(request.path, None))
    return next(request)


def phases(request, next):
    return Response(200, json.dumps({path: PHASES[request.phase] for path, request in requests.items()}).encode())


def waits(request, next):
    go.wait()
    return next(request)


def release(request, next):
    go.set()
    return next(request)


def reads(request, next):
    response = next(request)
    response.read()
    return response
"""


def shown(play):
    return json.loads(play.gateway.get("/phases").body)


@contextmanager
def under_way(play, path, raw=""):
    """A request that is held somewhere; its client leaves at the end."""
    with play.gateway.connect() as wire:
        wire.send(raw or f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
        yield wire


def has_phase(play, path, phase):
    eventually(lambda: shown(play).get(path) == phase, f"the phase {phase} of {path}")
    return True


def begin(peer, _):
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")
    peer.read_all()


def switch(peer, request):
    peer.send(switching(request))
    peer.read_all()


def test_a_handler_that_waits(play):
    with under_way(play, "/handler"):
        assert has_phase(play, "/handler", "handler")
        assert play.gateway.get("/release").status == 200


def test_a_place_in_the_queue(play):
    play.queued.act = held = Held()
    with under_way(play, "/queue/first"), held.asked, under_way(play, "/queue/second") as second:
        assert has_phase(play, "/queue/second", "queue")
        held.go.set()
        assert second.read_response().status == 200


@pytest.mark.parametrize("path", ["/wait", "/hedged", "/read/wait"])
def test_the_head_of_a_response(play, path):
    play.one.act = held = Held()
    with under_way(play, path):
        assert has_phase(play, path, "wait")
        held.go.set()


@pytest.mark.parametrize("path", ["/body", "/read/body"])
def test_the_body_of_a_response_even_if_a_handler_reads_it(play, path):
    play.one.act = begin
    with under_way(play, path):
        assert has_phase(play, path, "body")


def test_the_rest_of_an_upload_and_then_the_response(play):
    play.one.act = held = Held()
    raw = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
    with under_way(play, "/upload", raw) as wire:
        assert has_phase(play, "/upload", "upload")
        wire.send(b"x" * 100_000)
        assert has_phase(play, "/upload", "upload")
        wire.send(b"x" * 100_000)
        assert has_phase(play, "/upload", "wait")
        held.go.set()
        assert wire.read_response().status == 200


def test_a_backend_that_does_not_read(play):
    play.one.act = held = Held(begin)
    size = 50_000_000
    with under_way(play, "/send", f"POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n") as wire:

        def waits_for_the_backend():
            wire.send_while_taken(b"x" * 1_000_000, 0.01)
            return shown(play).get("/send") == "send"

        eventually(waits_for_the_backend, "an upload that the backend does not take")
    held.go.set()


def test_a_pause_before_a_retry(play):
    play.later.act = lambda peer, _: peer.send("HTTP/1.1 503 Later\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")
    with under_way(play, "/pause"):
        assert has_phase(play, "/pause", "pause")


def test_a_backend_that_does_not_accept(play):
    path = str(play.gateway.folder / "full")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(0)
        other.connect(path)
        with under_way(play, "/connect"):
            assert has_phase(play, "/connect", "connect")
        listener.close()


def test_a_tunnel(play):
    play.one.act = switch
    raw = "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with under_way(play, "/tunnel", raw) as wire:
        assert wire.read_response().status == 101
        assert has_phase(play, "/tunnel", "tunnel")
