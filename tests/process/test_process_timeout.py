"""Feature 5: three seconds until the head, however the backend wastes them, and for each further piece."""

import socket
import threading
import time
from contextlib import ExitStack

from shipped import PUBLIC, UNLIMITED, problem, running

from gproxy.testing.backends import Backend


def hangs(peer, backend):
    if peer.read_request():
        backend.requests.append(None)
        time.sleep(4.5)


def trickles_its_head(peer, backend):
    if peer.read_request():
        backend.requests.append(None)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Long: yes it is":
            peer.send(bytes([byte]))
            time.sleep(0.1)


def trickles_its_body(peer, backend):
    if peer.read_request():
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 45\r\n\r\n")
        for _ in range(45):
            peer.send(b"x")
            time.sleep(0.1)


def stalls_in_its_body(peer, backend):
    if peer.read_request():
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 45\r\n\r\nx")
        peer.read_all()


class Deaf:
    """A port that never accepts: its queue is full."""

    def __enter__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
            self.waiting.append(sock)
        return self

    def __exit__(self, *_):
        for sock in (*self.waiting, self.listener):
            sock.close()


MORE = """
[route:body]
path = /body
upstream = body
skip = jwt
[upstream:body]
backends = http://127.0.0.1:{body}
[route:stall]
path = /stall
upstream = stall
skip = jwt
[upstream:stall]
backends = http://127.0.0.1:{stall}
[route:deaf]
path = /deaf
upstream = deaf
skip = jwt
[upstream:deaf]
backends = http://127.0.0.1:{deaf}
connect_timeout = 20s
[route:impatient]
path = /impatient
upstream = impatient
skip = jwt
[upstream:impatient]
backends = http://127.0.0.1:{deaf}
"""


def ask_all(ours, paths):
    """Each path at the same time: its answer, and the seconds until it was there."""
    results = {}

    def ask(path):
        started = time.monotonic()
        answer = ours.get(path)
        results[path] = answer, time.monotonic() - started

    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert ours.get("/health").status == 200  # nobody else waits
    for thread in threads:
        thread.join()
    return results


def test_every_way_to_be_late_ends_after_three_seconds(tmp_path):
    with ExitStack() as stack:
        more = MORE.format(
            body=stack.enter_context(Backend(trickles_its_body)).port,
            stall=stack.enter_context(Backend(stalls_in_its_body)).port,
            deaf=stack.enter_context(Deaf()).port,
        )
        scripts = hangs, trickles_its_head, hangs
        ours = stack.enter_context(running(tmp_path, UNLIMITED, *PUBLIC, scripts=scripts, more=more))
        results = ask_all(ours, ["/users", "/orders", "/body", "/stall", "/deaf", "/impatient"])

        for path in ("/users", "/orders", "/deaf"):
            answer, seconds = results[path]
            assert (answer.status, problem(answer)["title"]) == (504, "Gateway Timeout"), path
            assert 2.9 < seconds < 3.4, path
            assert answer["proxy-status"].startswith("gproxy; error=")
            line = ours.line_of(answer)
            assert line["status"] == "504"
            assert line["reason"] in {"backend_timeout", "connect_timeout"}
            assert 2.9 < float(line["duration"]) < 3.4
            ours.wait_for_line(answer["x-request-id"])
            assert not any(
                str(backend.port) in answer.head.decode() + answer.body.decode() for backend in ours.backends
            )
        assert len(ours.one.requests) + len(ours.three.requests) == 1  # not tried again: 3 s and not 6 s

        answer, seconds = results["/impatient"]  # its connect_timeout of 1 s comes first
        assert (answer.status, ours.line_of(answer)["reason"]) == (504, "connect_timeout")
        said = "the connection to the backend timed out (Connection to 127.0.0.1 timed out"
        assert said in ours.wait_for_line(answer["x-request-id"])
        assert 0.9 < seconds < 2.5

        answer, seconds = results["/body"]  # it takes longer as a whole, but each piece comes in time
        assert (answer.status, answer.body, answer.complete) == (200, b"x" * 45, True)
        assert seconds > 4.4

        answer, seconds = results["/stall"]  # too late for a 504, and it must not look complete
        assert (answer.status, answer.complete) == (200, False)
        assert 2.9 < seconds < 3.4
        assert ours.line_of(answer)["reason"] == "read_timeout"
        ours.wait_for_line("response broken off after 3 s without data (read_timeout of [upstream:stall])")


def test_a_stream_has_until_its_head_only(tmp_path):
    streaming = ("upstream = orders\n", "upstream = orders\nskip = jwt\nstream = yes\n")
    shorter = ("timeout = 3s", "timeout = 1s")

    def script(peer, backend):
        if peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for n in range(4):
                time.sleep(0.5)
                peer.send(f"data: {n}\n\n".encode())

    with running(tmp_path, streaming, shorter, scripts=(None, script)) as ours:
        answer = ours.get("/orders")
        assert answer.complete
        assert answer.body.count(b"data:") == 4
