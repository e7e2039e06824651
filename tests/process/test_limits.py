"""Many clients, slow clients, too few descriptors: whoever behaves is served."""

import resource
import socket
import subprocess
import sys
import time

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

INI = """
[server]
{server}
[route:all]
path = /
upstream = one
[upstream:one]
backends = {url}
"""


def settings(backend, *server):
    return INI.format(url=backend.url, server="\n".join(server))


def test_one_connection_too_many_is_told_so(tmp_path):
    with Backend(answering()) as backend, RunningGateway(settings(backend, "max_connections = 2"), tmp_path) as gateway:
        with gateway.connect() as first, gateway.connect() as second:
            for wire in (first, second):
                wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert wire.read_response().status == 200
            answer = gateway.get("/")
            assert (answer.status, answer["retry-after"], answer["connection"]) == (503, "1", "close")
        eventually(lambda: gateway.get("/").status == 200, "room again")
        assert "max_connections" in [line["reason"] for line in gateway.access(3)]


def test_a_full_disk_is_one_line_for_all_uploads(tmp_path):
    """The limit on the size of files stands for the disk. Each upload arrives, though a retry could not send it again."""
    ini = settings(backend := Backend(answering()), f"state_dir = {tmp_path}") + "replay = 0\nspool = 10MB\n"
    with backend, RunningGateway(ini + "[log]\naccess = off\n", tmp_path) as gateway:
        resource.prlimit(gateway.workers[0], resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        body = b"x" * 200_000
        for n in range(5):
            head = f"PUT /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            assert gateway.ask(head + body).status == 200
        assert [request.body for request in backend.requests] == [body] * 5
        assert "/0: request body cannot be recorded: File too large" in gateway.errors
        assert gateway.errors.count("cannot be recorded") == 1
        line = gateway.wait_for_line("more within")
        assert line.endswith("request body cannot be recorded: File too large: 4 more within 10 s\n")


def test_one_address_cannot_take_every_connection(tmp_path):
    ini = settings(backend := Backend(answering()), "max_connections_per_address = 1")
    with backend, RunningGateway(ini, tmp_path) as gateway, gateway.connect() as first:
        first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert first.read_response().status == 200
        assert gateway.get("/").status == 503
        other = socket.create_connection(("127.0.0.1", gateway.port), source_address=("127.0.0.2", 0))
        with other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
        first.sock.close()
        eventually(lambda: gateway.get("/").status == 200, "room again")


def test_five_thousand_trickling_clients_keep_nobody_waiting(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    slow = []
    try:
        with (
            Backend(answering()) as backend,
            RunningGateway(settings(backend, "head_timeout = 5s"), tmp_path) as gateway,
        ):
            for _ in range(5000):
                slow.append(socket.create_connection(("127.0.0.1", gateway.port)))
                slow[-1].sendall(b"GET / HTTP/1.1\r\nHo")
            for _ in range(20):
                assert gateway.get("/").status == 200
            for wire in slow:  # each is told, in its time
                wire.settimeout(15)
                assert wire.recv(100).startswith(b"HTTP/1.1 408 ")
    finally:
        for wire in slow:
            wire.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_left_accepting_rests_and_goes_on(tmp_path):
    with Backend(answering()) as backend, RunningGateway(settings(backend, "head_timeout = 60s"), tmp_path) as gateway:
        resource.prlimit(gateway.workers[0], resource.RLIMIT_NOFILE, (64, 64))
        crowd = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(80)]
        gateway.wait_for_line("accept failed: Too many open files")
        for wire in crowd:
            wire.close()
        assert gateway.get("/").status == 200
        assert gateway.errors.count("accept failed") == 1
        assert "Traceback" not in gateway.errors


def test_an_idle_connection_is_closed_in_its_time_and_a_silent_one_too(tmp_path):
    ini = settings(backend := Backend(answering()), "idle_timeout = 300ms", "head_timeout = 600ms")
    with backend, RunningGateway(ini, tmp_path) as gateway, gateway.connect() as used, gateway.connect() as silent:
        used.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert used.read_response().status == 200
        began = time.monotonic()
        assert used.is_closed()
        assert 0.25 < time.monotonic() - began < 5
        assert silent.is_closed()
        assert len(gateway.access()) == 1  # nothing was asked, so nothing is told


def test_idle_connections_to_backends_are_closed_beyond_keepalive_and_in_time(tmp_path):
    ini = settings(backend := Backend(answering())) + "idle_timeout = 500ms\n"
    with backend, RunningGateway(ini, tmp_path) as gateway:
        assert gateway.get("/").status == 200
        assert backend.open == 1
        eventually(lambda: backend.open == 0, "the end of the idle connection")
        assert gateway.get("/").status == 200


def test_an_error_log_that_nobody_reads_costs_no_request(tmp_path):
    (tmp_path / "mine.py").write_text("def fails(request, next):\n    raise ValueError('x' * 2000)\n")
    ini = settings(backend := Backend(answering())) + "[route:bad]\npath = /bad\nupstream = one\nhandlers = mine\n"
    (tmp_path / "gproxy.ini").write_text(ini + "[handler:mine]\nuse = mine:fails\n")
    port = free_port()
    command = [sys.executable, "-m", "gproxy", "--bind", f"127.0.0.1:{port}", "--config", "gproxy.ini"]
    with backend, subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: _statuses(port, "/"), "a gateway that serves")
            assert _statuses(port, *["/bad"] * 100, "/") == [500] * 100 + [200]
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def _statuses(port, *paths):
    try:
        with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
            answers = []
            for path in paths:
                wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
                answers.append(wire.read_response().status)
            return answers
    except ConnectionRefusedError:
        return []
