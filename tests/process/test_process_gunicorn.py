"""A real gunicorn as the backend, which closes kept-alive connections whenever it likes."""

import random
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

APP = """
def app(environ, start_response):
    body = environ["wsgi.input"].read() or environ["PATH_INFO"].encode()
    if environ["PATH_INFO"] == "/download":
        body = bytes(range(256)) * 50_000
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
INI = """
[gateway]
handlers = health, metrics
[handler:health]
cache = 0s
[handler:metrics]
[route:all]
path = /
upstream = app
[route:download]
path = /download
upstream = app
buffer_response = 15MB
[upstream:app]
backends = http://127.0.0.1:{port}
"""


@contextmanager
def gunicorn(folder, port, *arguments):
    (folder / "shop.py").write_text(APP)
    with (folder / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "--bind",
                f"127.0.0.1:{port}",
                "--no-control-socket",
                *arguments,
                "shop:app",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        eventually(lambda: b"Booting worker" in (folder / "gunicorn.log").read_bytes(), "gunicorn")
        yield process
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("gunicorn"), free_port()
    with gunicorn(folder, port, "--worker-class", "gthread", "--threads", "4", "--keep-alive", "1"):
        with RunningGateway(INI.replace("{port}", str(port)), folder) as gateway:
            yield gateway


def test_a_connection_that_its_keep_alive_has_closed_is_no_502(shop):
    """Requests come just when gunicorn closes, a little before and a little after."""
    rng = random.Random(3)
    with shop.connect() as wire:
        for n in range(12):
            wire.send(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response()
            assert (answer.status, answer.body) == (200, b"/%d" % n)
            time.sleep(1 + rng.uniform(-0.03, 0.03))


def test_a_post_meets_the_end_of_a_connection_once_at_most(shop):
    """Posts are not sent again. The gateway learns when gunicorn closes."""
    rng = random.Random(4)
    statuses = []
    with shop.connect() as wire:
        for _ in range(8):
            wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
            statuses.append(wire.read_response().status)
            time.sleep(1 + rng.uniform(-0.01, 0.04))
    assert statuses.count(502) <= 1
    assert set(statuses) <= {200, 502}


def test_bodies(shop):
    body = bytes(range(256)) * 4000
    head = f"PUT /body HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert shop.ask(head + body).body == body


def test_a_worker_that_is_replaced_loses_nothing(tmp_path):
    """One after five requests, in the middle of kept-alive connections."""
    port = free_port()
    with gunicorn(tmp_path, port, "--workers", "2", "--worker-class", "gthread", "--max-requests", "5"):
        ini = INI.replace("{port}", str(port)) + "retries = 3\n"
        with RunningGateway(ini, tmp_path) as gateway, gateway.connect() as wire:
            for n in range(60):
                wire.send(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")
                assert wire.read_response().status == 200


# --- two sync workers, and clients that are slower than they


@pytest.fixture(scope="module")
def small_shop(tmp_path_factory):
    """A backend that serves two requests at a time, and no more while clients keep it waiting."""
    folder, port = tmp_path_factory.mktemp("gunicorn"), free_port()
    with gunicorn(folder, port, "--workers", "2", "--worker-class", "sync"):
        with RunningGateway(INI.replace("{port}", str(port)), folder) as gateway:
            yield gateway


def in_flight(gateway):
    """The requests in flight besides this one."""
    return int(re.search(r"(?m)^gproxy_requests_in_flight (\d+)", gateway.get("/metrics").body.decode())[1]) - 1


def is_served_at_once(gateway):
    """Three other clients come; an occupied backend would serve none of them within the timeout."""
    for n in range(3):
        started = time.monotonic()
        answer = gateway.get(f"/other/{n}")
        assert (answer.status, answer.body) == (200, b"/other/%d" % n)
        assert time.monotonic() - started < 1.0


def test_four_slow_uploads_leave_the_backend_to_others(small_shop):
    with ExitStack() as stack:
        wires = [stack.enter_context(small_shop.connect()) for _ in range(4)]
        for wire in wires:
            wire.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + "a" * 10_000)
        eventually(lambda: in_flight(small_shop) == 4, "the uploads")
        is_served_at_once(small_shop)
        for wire in wires:
            wire.send("b" * 40_000)
        assert [wire.read_response().body for wire in wires] == [b"a" * 10_000 + b"b" * 40_000] * 4


def test_four_slow_downloads_leave_the_backend_to_others(small_shop):
    """They are longer than all that the systems between gateway and client hold."""
    with ExitStack() as stack:
        wires = [Wire(stack.enter_context(socket.socket())) for _ in range(4)]
        for wire in wires:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            wire.sock.settimeout(PATIENCE)
            wire.sock.connect(("127.0.0.1", small_shop.port))
            wire.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        is_served_at_once(small_shop)
        assert in_flight(small_shop) == 4
        assert [wire.read_exactly(12_800_000) == bytes(range(256)) * 50_000 for wire in wires] == [True] * 4
