"""The way to a backend: unix sockets, IPv6, several addresses of one backend, how long a connection lives."""

import socket
import threading
from contextlib import contextmanager

import pytest

from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually, free_port

INI = """
[gateway]
handlers = health
timeout = 2s
[handler:health]
cache = 0s
[route:r]
upstream = u
[upstream:u]
retries = 0
max_fails = 0
backends = %s
"""


@contextmanager
def running(folder, backends, options=""):
    """A gateway that leaves no lease behind."""
    with RunningGateway(INI % backends + options, folder) as gateway:
        yield gateway
        gateway.wait_until_idle()


def state(gateway):
    return gateway.health()["upstreams"]["u"]


@contextmanager
def full(family, address):
    """A listener that takes no more connections; not until it is told to accept."""
    with socket.socket(family) as listener:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(0)
        clients = [socket.socket(family) for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(address)
        yield listener
        for client in clients:
            client.close()


def test_a_unix_socket(tmp_path):
    with Actor(path=tmp_path / "app.sock") as backend, running(tmp_path, f"{backend.url} weight=2") as gateway:
        for _ in range(3):
            assert gateway.get("/x").status == 200
        assert backend.connections == 1
        assert backend.requests[-1]["host"] == "gateway.test"
        assert gateway.line("/x")["backend"] == f"unix:{tmp_path}/app.sock"
        assert state(gateway)[0]["backend"] == f"unix:{tmp_path}/app.sock"


@pytest.mark.parametrize(("host", "sent"), [("backend", "localhost"), ("api.test", "api.test")])
def test_the_host_sent_to_a_unix_socket(tmp_path, host, sent):
    with Actor(path=tmp_path / "app.sock") as backend, running(tmp_path, backend.url, f"host = {host}") as gateway:
        gateway.get("/")
        assert backend.requests[0]["host"] == sent


def test_probes_of_a_unix_socket(tmp_path):
    options = "health_path = /up\nhealth_interval = 50ms\nfall = 1\nrise = 1"
    with running(tmp_path, f"unix:{tmp_path}/app.sock", options) as gateway:
        eventually(lambda: state(gateway)[0]["state"] == "unhealthy", "nobody listens")
        with Actor(path=tmp_path / "app.sock") as backend:
            eventually(lambda: state(gateway)[0]["state"] == "healthy", "somebody listens")
            assert backend.requests[0]["host"] == "localhost"


def test_a_unix_socket_that_comes_and_goes(tmp_path):
    path = tmp_path / "app.sock"
    with running(tmp_path, f"unix:{path}") as gateway:
        answer = gateway.get("/")
        assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=connection_refused")
        gateway.wait_for_line("No such file or directory")
        with Actor(path=path):
            assert gateway.get("/").status == 200
        assert gateway.get("/")["proxy-status"] == "gproxy; error=connection_refused"
        path.unlink()
        with Actor(path=path):
            assert gateway.get("/").status == 200


def test_a_unix_socket_whose_queue_is_full(tmp_path, stopwatch):
    """The kernel says so at once instead of waiting, so we wait."""
    path = str(tmp_path / "app.sock")
    options = "connect_timeout = 300ms"
    with full(socket.AF_UNIX, path) as listener, running(tmp_path, f"unix:{path}", options) as gateway:
        with stopwatch:
            answer = gateway.get("/")
        assert (answer.status, answer["proxy-status"]) == (504, "gproxy; error=connection_timeout")
        assert 0.3 <= stopwatch.seconds < 0.6
        answers = []
        asking = threading.Thread(target=lambda: answers.append(gateway.get("/")))
        asking.start()
        listener.settimeout(5)
        while not answers:
            peer, _ = listener.accept()
            peer.settimeout(0.1)
            with peer:
                try:
                    if peer.recv(1000):
                        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        asking.join(5)
                except TimeoutError:
                    pass
        assert [answer.status for answer in answers] == [200]


def test_ipv6(tmp_path):
    with Actor(address="::1") as backend, running(tmp_path, backend.url, "host = backend") as gateway:
        assert gateway.get("/x").status == 200
        assert gateway.line("/x")["backend"] == f"[::1]:{backend.port}"
        assert backend.requests[0]["host"] == f"[::1]:{backend.port}"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_localhost_is_whichever_loopback_address_answers(tmp_path, address):
    with Actor(address=address) as backend, running(tmp_path, f"http://localhost:{backend.port}") as gateway:
        assert gateway.get("/x").status == 200
        assert gateway.line("/x")["backend"] == f"localhost:{backend.port}"
        assert [one["backend"] for one in state(gateway)] == [f"http://localhost:{backend.port}"]


def test_localhost_is_one_backend_even_if_both_addresses_answer(tmp_path):
    port = free_port()
    with Actor(port=port) as four, Actor(port=port, address="::1") as six:
        with running(tmp_path, f"http://localhost:{port}") as gateway:
            for _ in range(4):
                gateway.get("/", "Connection: close")
        assert (len(four.requests), len(six.requests)) == (4, 0)


def test_localhost_that_nobody_listens_on(tmp_path):
    with running(tmp_path, f"http://localhost:{free_port()}") as gateway:
        assert gateway.get("/")["proxy-status"] == "gproxy; error=connection_refused"
        gateway.wait_for_line("Connection refused")


def test_an_address_that_says_nothing_gets_company(tmp_path, stopwatch):
    """The other address is asked beside it after a quarter of a second; the next time it comes first."""
    port = free_port()
    with full(socket.AF_INET, ("127.0.0.1", port)), Actor(port=port, address="::1") as six:
        with running(tmp_path, f"http://localhost:{port}") as gateway:
            with stopwatch:
                assert gateway.get("/").status == 200
            assert 0.2 < stopwatch.seconds < 0.9
            six.act = lambda peer, request: (peer.send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n"), peer.close())
            gateway.get("/")
            with stopwatch:
                assert gateway.get("/").status == 204
            assert stopwatch.seconds < 0.2


def test_a_connection_of_age_is_not_used_again(tmp_path):
    """Nor is a response cut for it that takes longer."""
    with Actor() as backend, running(tmp_path, backend.url, "max_age = 300ms") as gateway:
        pause = threading.Event()

        def act(peer, request):
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
            for _ in range(8):
                pause.wait(0.1)
                peer.send("x")

        backend.act = act
        answer = gateway.get("/")
        assert (answer.complete, answer.body) == (True, b"x" * 8)
        eventually(lambda: backend.open == 0, "the old connection closed")
        gateway.get("/")
        assert backend.connections == 2


def test_a_backend_announces_how_long_it_waits(tmp_path):
    """The idle connection goes before that, without anybody meeting its end."""
    with Actor() as backend, running(tmp_path, backend.url, "idle_timeout = 50s") as gateway:

        def act(peer, request):
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=3, max=100\r\n\r\n")

        backend.act = act
        assert gateway.get("/")["keep-alive"] is None
        assert backend.open == 1
        eventually(lambda: backend.open == 0, "the idle connection closed")
