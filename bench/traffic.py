"""Clients of all kinds, good and bad, each over and over; whatever is not as it must be is noted."""

import socket
import threading
import time

from bench.requests import request
from bench.server import PATIENCE
from gproxy.testing.gateway import Wire

_GZIP = "Accept-Encoding: gzip"
_CHUNKS = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in (1, 1000, 60_000)) + b"0\r\n\r\n"
#: Between two acts of one client, in seconds.
_PAUSE = 0.01


def _asks(status, raw):
    """A client that opens a connection, asks once, and must get this status and a whole answer."""

    def act(wire):
        wire.send(raw)
        _expect(status, wire)

    return act


def _expect(status, wire):
    answer = wire.read_response()
    assert (answer.status, answer.complete) == (status, True), f"{answer!r}, not {status}"


def _stays(wire):
    for path in ("/users/1", "/users/list.json", "/users/1") * 10:
        wire.send(request(path))
        _expect(200, wire)


def _pipelines(wire):
    wire.send(request() * 5)
    for _ in range(5):
        _expect(200, wire)


def _leaves(raw):
    """A client that says so much, hears a little if there is something to hear, and is gone."""

    def act(wire):
        wire.send(raw)
        wire.sock.settimeout(0.02)
        try:
            wire.read_more()
        except TimeoutError:
            pass

    return act


ACTS = {
    "stays": _stays,
    "pipelines": _pipelines,
    "new connection": _asks(200, request("/users/1", "Connection: close")),
    "compressed": _asks(200, request("/users/list.json", _GZIP)),
    "long answer": _asks(200, request("/users/1m")),
    "upload": _asks(204, request("/users/upload", "Content-Length: 100000", method="POST", body=b"x" * 100_000)),
    "chunks": _asks(204, request("/users/upload", "Transfer-Encoding: chunked", method="POST", body=_CHUNKS)),
    "backend's error": _asks(500, request("/users/error", _GZIP)),
    "dead backend": _asks(502, request("/dead")),
    "silent backend": _asks(504, request("/silent")),
    "nowhere": _asks(404, request("/nowhere", _GZIP)),
    "malformed": _asks(400, b"GET /users/1 HTTP/1.1\r\nHost : bench.test\r\n\r\n"),
    "leaves in the head": _leaves(b"GET /users/1 HTTP/1.1\r\nHo"),
    "leaves in an upload": _leaves(request("/users/upload", "Content-Length: 100000", method="POST", body=b"x" * 1000)),
    "leaves in an answer": _leaves(request("/users/1m")),
    "leaves before an answer": _leaves(request("/silent")),
}


class Traffic:
    """A thread for each act, from an address of its own, for as long as the `with` lasts."""

    def __init__(self, port):
        self._port = port
        self._stop = threading.Event()
        self.done = 0
        #: What was not as it must be.
        self.unexpected = []
        self._threads = [
            threading.Thread(target=self._repeat, args=(name, f"127.0.1.{number}"))
            for number, name in enumerate(ACTS, 1)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, name, source):
        while not self._stop.wait(_PAUSE):
            try:
                with Wire(socket.create_connection(("127.0.0.1", self._port), PATIENCE, (source, 0))) as wire:
                    ACTS[name](wire)
            except (AssertionError, OSError) as error:
                self.unexpected.append(f"{name}: {error!r}")
                time.sleep(1)
            self.done += 1
