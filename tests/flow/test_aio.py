"""Libraries of asyncio in a handler: httpx's client, its end with the request, and the other requests meanwhile."""

import threading

from gproxy.testing.backends import Held, reply
from gproxy.testing.gateway import eventually

INI = """
[gateway]
timeout = 1s
handlers = health
[handler:health]
cache = 0s
[route:aio]
path = /aio
timeout = 1s
handlers = aio
respond = 404
[route:long]
path = /long
timeout = 30s
handlers = aio
respond = 404
[route:plain]
path = /
upstream = app
[handler:aio]
use = handlers:Aio
url = {app}
[upstream:app]
backends = {app}
"""
BACKENDS = "app"
HANDLERS = """
from dataclasses import dataclass

import httpx

from gproxy import Response

@dataclass
class Aio:
    url: str

    def open(self, runtime):
        self.runtime = runtime

    def __call__(self, request, next):
        status, body = self.runtime.aio(self.fetch(request.path, request.id))
        return Response(status, body)

    async def fetch(self, path, id):
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.get(self.url.replace("127.0.0.1", "localhost") + path, headers={"X-Of": id})
            return answer.status_code, answer.content
"""


class Hanging:
    """An act that answers nothing, and notes that the client has closed the connection."""

    def __init__(self):
        self.asked, self.closed = threading.Event(), threading.Event()

    def __call__(self, peer, request):
        self.asked.set()
        peer.read_all()
        self.closed.set()


def test_the_right_answer_comes_through_an_asynchronous_client(play):
    play.app.act = reply(b"of httpx", status="201 Created")
    answer = play.gateway.get("/aio/x")
    assert (answer.status, answer.body) == (201, b"of httpx")
    (asked,) = play.app.requests
    assert (asked.line, asked["x-of"]) == ("GET /aio/x HTTP/1.1", answer["x-request-id"])


def test_the_deadline_cancels_the_call(play, stopwatch):
    play.app.act = hanging = Hanging()
    with stopwatch:
        assert play.gateway.get("/aio").status == 504
    assert 0.9 < stopwatch.seconds < 3
    assert hanging.closed.wait(10)


def test_a_client_that_leaves_cancels_the_call(play):
    play.app.act = hanging = Hanging()
    with play.gateway.connect() as wire:
        wire.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        assert hanging.asked.wait(10)
    assert hanging.closed.wait(10)
    eventually(lambda: [one for one in play.gateway.access() if one["status"] == "499"], "a 499")


def test_other_requests_are_answered_meanwhile_and_many_wait_at_once(play):
    held = Held(reply(b"later"))
    play.app.act = held
    wires = [play.gateway.connect() for _ in range(20)]
    for wire in wires:
        wire.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in wires:
        assert held.asked.acquire(timeout=20)
    play.app.act = reply(b"now")
    assert play.gateway.get("/").body == b"now"
    held.go.set()
    for wire in wires:
        assert wire.read_response().body == b"later"
        wire.sock.close()
