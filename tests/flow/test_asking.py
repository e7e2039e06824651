"""Handlers that ask an upstream themselves, with `runtime.ask`: times, leases, and what reaches whom."""

import threading
import time

from scenes import scene

from gproxy.testing.backends import Held, reply
from gproxy.testing.gateway import eventually

INI = """
[server]
head_timeout = 3s
[gateway]
handlers = health
timeout = 2s
trusted_proxies = 127.0.0.9
[handler:health]
cache = 0s
[route:plain]
path = /
upstream = app
handlers = flags
[route:late]
path = /late
upstream = app
handlers = patient
[route:other]
path = /other
handlers = elsewhere
respond = 404
[route:dropped]
path = /dropped
upstream = app
handlers = careless
[route:greenlet]
path = /greenlet
upstream = app
handlers = both
[handler:flags]
use = handlers:Flags
upstream = flags
[handler:patient]
use = handlers:Flags
upstream = flags
timeout = 5s
[handler:elsewhere]
use = handlers:Elsewhere
upstream = flags
[handler:careless]
use = handlers:Careless
upstream = flags
[handler:both]
use = handlers:Both
upstream = flags
[upstream:app]
backends = {app}
[upstream:flags]
backends = {flags}
max_fails = 0
queue = 1
max_requests = 4
"""
BACKENDS = "app flags"
HANDLERS = """
from dataclasses import dataclass, field

import gevent

from gproxy import Response
from gproxy.config.types import Seconds, UpstreamName
from gproxy.runtime.subrequest import subrequest

@dataclass
class Asks:
    upstream: UpstreamName
    timeout: Seconds = Seconds(0.4)
    def open(self, runtime):
        self.runtime = runtime

@dataclass
class Flags(Asks):
    def __call__(self, request, next):
        fields = {"X-Tenant": "a", "Authorization": "Bearer ours"}
        with subrequest(request, "POST", "/flags?of=a", fields, b"question", timeout=self.timeout) as asked:
            answer = self.runtime.ask(self.upstream, asked)
            request.headers["X-Flags"] = f"{answer.status} {asked.reason} {answer.read().decode()[:40]}"
        return next(request)

@dataclass
class Elsewhere(Asks):
    def __call__(self, request, next):
        return self.runtime.ask(self.upstream, request)

@dataclass
class Careless(Asks):
    def __call__(self, request, next):
        with subrequest(request, timeout=self.timeout) as asked:
            self.runtime.ask(self.upstream, asked)  # the response is dropped
        return next(request)

@dataclass
class Both(Asks):
    def __call__(self, request, next):
        def ask():
            with subrequest(request, timeout=self.timeout) as asked:
                return self.runtime.ask(self.upstream, asked).read()
        jobs = [gevent.spawn(ask) for _ in range(2)]
        gevent.joinall(jobs)
        request.headers["X-Flags"] = " ".join(job.value.decode() for job in jobs)
        return next(request)
"""


def test_what_the_asked_upstream_and_the_backend_get(play):
    answer = play.gateway.get("/x?y", "Authorization: Bearer client", "X-Other: 1")
    assert answer.body == b"app"
    (asked,), (seen,) = play.flags.requests, play.app.requests
    assert asked.line == "POST /flags?of=a HTTP/1.1"
    assert (asked["host"], asked["x-tenant"], asked["x-other"]) == ("gateway.test", "a", None)
    assert (asked["authorization"], asked["content-length"]) == ("Bearer ours", "8")
    assert (asked["x-forwarded-for"], asked["x-forwarded-host"]) == ("127.0.0.1", "gateway.test")
    assert asked["x-request-id"] == seen["x-request-id"] == answer["x-request-id"]
    assert seen["x-flags"] == "200  flags"
    line = play.gateway.line("/x")
    assert (line["upstream"], line["backend"], line["tries"]) == ("app", play.app.url.partition("//")[2], "1")


def test_a_silent_upstream_costs_the_timeout_and_no_lease(play, stopwatch):
    held = Held()
    play.flags.act = held
    with stopwatch:
        assert play.gateway.get("/").status == 200
    assert 0.3 < stopwatch.seconds < 1.5
    assert play.app.requests[0]["x-flags"].startswith("504 backend_timeout")
    play.gateway.wait_until_idle()
    held.go.set()


def test_a_body_that_stops_ends_at_the_timeout(play, stopwatch):
    def stops(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
        peer.read_all()

    play.flags.act = stops
    with stopwatch:
        answer = play.gateway.get("/stops")
    assert (answer.status, play.gateway.line("/stops")["reason"]) == (504, "handler_timeout")
    assert stopwatch.seconds < 1.5


def test_a_trickle_of_bytes_does_not_move_the_timeout(play, stopwatch):
    def trickles(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):
            peer.send(b"x")
            time.sleep(0.05)

    play.flags.act = trickles
    with stopwatch:
        assert play.gateway.get("/").status == 504
    assert stopwatch.seconds < 1.5


def test_the_deadline_of_the_route_is_not_extended(play, stopwatch):
    held = Held()
    play.flags.act = held
    with stopwatch:
        assert play.gateway.get("/late").status == 504
    assert 1.8 < stopwatch.seconds < 3.5
    assert play.app.requests == []
    held.go.set()


def test_a_client_that_leaves_cancels_the_call(play):
    held = Held()
    play.flags.act = held
    with play.gateway.connect() as wire:
        wire.send("GET /late HTTP/1.1\r\nHost: a\r\nX-Left: 1\r\n\r\n")
        assert held.asked.acquire(timeout=10)
    eventually(lambda: [one for one in play.gateway.access() if one["status"] == "499"], "a 499")
    play.gateway.wait_until_idle()
    assert play.app.requests == []
    held.go.set()


def test_interim_responses_are_not_the_clients(play):
    def hints(peer, request):
        peer.read_body(request)
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </secret>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    play.flags.act = hints
    answer = play.gateway.get("/")
    assert (answer.status, answer.body) == (200, b"app")
    assert play.app.requests[0]["x-flags"] == "200  x"


def test_a_dropped_response_gives_its_lease_back(play):
    play.flags.act = lambda peer, request: peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(100_000)
    )
    for _ in range(5):
        assert play.gateway.get("/dropped").status == 200
    play.gateway.wait_until_idle()


def test_the_request_itself_may_go_to_another_upstream(play):
    play.flags.act = reply(b"x" * 300_000, "X-From: flags")
    answer = play.gateway.get("/other?q=1", "Authorization: Bearer client", "X-Other: 1")
    assert (answer.status, answer["x-from"], len(answer.body)) == (200, "flags", 300_000)
    (seen,) = play.flags.requests
    assert seen.line == "GET /other?q=1 HTTP/1.1"
    assert (seen["authorization"], seen["x-other"]) == ("Bearer client", "1")  # no handler reads credentials here
    assert play.gateway.line("/other")["upstream"] == "flags"


def test_two_questions_at_once_in_greenlets(play):
    gate = threading.Barrier(2)

    def together(peer, request):
        gate.wait(10)
        reply(b"f")(peer, request)

    play.flags.act = together
    assert play.gateway.get("/greenlet").status == 200
    assert play.app.requests[0]["x-flags"] == "f f"


def test_a_refused_connection_is_a_response(tmp_path):
    text = INI.replace("{flags}", "http://127.0.0.1:1")
    (tmp_path / "handlers.py").write_text(HANDLERS)
    with scene(text, "app", tmp_path) as play:
        assert play.gateway.get("/").status == 200
        assert play.app.requests[0]["x-flags"].startswith("502 connect_refused")
