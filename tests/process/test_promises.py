"""What a trial by a new user found, each from outside."""

import resource
import socket
import subprocess
import sys

import pytest

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, Wire, eventually

HANDLERS = """
import gevent
from gproxy import Response

def sleepy(request, next):
    gevent.sleep(30)
    return next(request)

def served_by(request, next):
    response = next(request)
    response.headers["X-Served-By"] = request.backend
    return response

def local(request, next):
    return Response(200, b"from here")
"""

INI = """
[gateway]
handlers = jwt
timeout = 400ms
[handler:jwt]
secret = a-secret-of-more-than-thirty-two-bytes
[handler:sleepy]
use = mine:sleepy
[handler:served_by]
use = mine:served_by
[handler:local]
use = mine:local
[route:open]
path = /open
upstream = one
skip = jwt
methods = POST
[route:closed]
path = /closed
upstream = one
methods = POST
[route:sleepy]
path = /sleepy
upstream = one
skip = jwt
handlers = sleepy
[route:local]
path = /local
upstream = one
skip = jwt
handlers = served_by, local
[route:hash]
path = /hash
upstream = two
skip = jwt
[upstream:one]
backends = {one}
[upstream:two]
backends = {one}, {two}
balance = uri_hash
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("promises")
    (folder / "mine.py").write_text(HANDLERS)
    with Backend(answering(body=b"one")) as one, Backend(answering(body=b"two")) as two:
        with RunningGateway(INI.format(one=one.url, two=two.url), folder) as running:
            running.one = one
            yield running


def test_a_wrong_method_on_a_public_route_is_405_without_a_token(gateway):
    answer = gateway.get("/open/x")
    assert (answer.status, answer["allow"]) == (405, "POST")
    assert gateway.get("/closed/x").status == 401


@pytest.mark.parametrize("path", ["/open/%zz", "/open/%00"])
def test_a_broken_path_is_400_whoever_asks(gateway, path):
    assert gateway.get(path).status == 400


def test_a_handler_that_takes_too_long_is_not_the_backends_fault(gateway):
    answer = gateway.get("/sleepy")
    assert (answer.status, answer["proxy-status"]) == (504, None)
    assert gateway.line("/sleepy")["reason"] == "handler_timeout"
    gateway.wait_for_line("a handler did not finish in time")


def test_the_sample_handler_does_without_a_backend(gateway):
    answer = gateway.get("/local")
    assert (answer.status, answer.body, answer["x-served-by"]) == (200, b"from here", None)


def test_one_path_stays_on_one_backend_whatever_its_query(gateway):
    for path in ("/hash/a", "/hash/b", "/hash/c"):
        assert len({gateway.get(f"{path}?page={page}").body for page in range(8)}) == 1
    assert len({gateway.get(f"/hash/{number}").body for number in range(30)}) == 2


def test_peers_on_a_unix_socket_are_believed(tmp_path):
    ini = "[server]\nbind = unix:{tmp}/g.sock\n[route:all]\nupstream = one\n[upstream:one]\nbackends = URL\n"
    with Backend(answering()) as backend:
        (tmp_path / "u.ini").write_text(ini.replace("{tmp}", str(tmp_path)).replace("URL", backend.url))
        process = subprocess.Popen(
            [sys.executable, "-m", "gproxy", "--config", "u.ini"], cwd=tmp_path, stderr=subprocess.PIPE
        )
        try:
            eventually((tmp_path / "g.sock").exists, "the socket")
            for line, expected in (("X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9, unknown"), ("", "unknown")):
                with Wire(socket.socket(socket.AF_UNIX)) as wire:
                    eventually(lambda to=wire: not to.sock.connect_ex(str(tmp_path / "g.sock")), "a listener")
                    wire.send(f"GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n")
                    assert wire.read_response().status == 200
                assert backend.requests[-1]["x-forwarded-for"] == expected
        finally:
            process.terminate()
            process.communicate(timeout=15)
        assert "client:203.0.113.9" in (tmp_path / "log/access.log").read_text()


def test_a_shortage_of_our_own_is_not_blamed_on_the_backend(tmp_path):
    ini = "[gateway]\nhandlers = health\n[route:all]\nupstream = one\n[upstream:one]\nbackends = {url}\n"
    with Backend(answering()) as backend, RunningGateway(ini.format(url=backend.url), tmp_path) as gateway:
        with gateway.connect() as wire:
            wire.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.read_response()
            resource.prlimit(gateway.workers[0], resource.RLIMIT_NOFILE, (5, 64))  # no descriptor is free now
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.read_response()
            resource.prlimit(gateway.workers[0], resource.RLIMIT_NOFILE, (64, 64))
            assert (answer.status, answer["proxy-status"]) == (503, "gproxy; error=proxy_internal_error")
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 200
        (state,) = gateway.health()["upstreams"]["one"]
        assert state["state"] == "healthy"
