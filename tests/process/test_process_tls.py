"""TLS and the life of a process: certificates that are renewed under way, a redirect beside it, a stop under load."""

import signal
import socket
import ssl
import time
from contextlib import contextmanager

import pytest
from admin_listener import monitors
from hammer import load

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

INI = """
[gateway]
handlers = health
[handler:health]
[route:r]
upstream = u
[upstream:u]
backends = {url}
[tls:a]
certificate = a.test.crt
key = a.test.key
hsts = 1d
"""


@pytest.fixture
def authority(tmp_path):
    authority = Authority(tmp_path)
    authority.issue("a.test")
    return authority


@contextmanager
def running(folder, port, *arguments, script=None, ini=INI):
    with Backend(script or answering(body=b"ok")) as backend:
        ini = ini.replace("{url}", backend.url)
        with RunningGateway(ini, folder, "--bind", f"127.0.0.1:{port} tls", *arguments) as gateway:
            gateway.backend = backend
            yield gateway


def trusting(folder):
    return ssl.create_default_context(cafile=folder / "authority.pem")


def connect(folder, port):
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    return trusting(folder).wrap_socket(sock, server_hostname="a.test")


def shown(folder, port):
    with connect(folder, port) as sock:
        return sock.getpeercert()["serialNumber"]


def ask(wire):
    wire.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    return wire.read_response().status


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path, authority):
    port = free_port()
    with running(tmp_path, port) as gateway, Wire(connect(tmp_path, port)) as kept:
        before = shown(tmp_path, port)
        assert ask(kept) == 200
        authority.issue("a.test")
        eventually(lambda: shown(tmp_path, port) != before, "the new certificate")
        gateway.wait_for_line("[tls:a] certificate reloaded")
        assert ask(kept) == 200

        renewed = shown(tmp_path, port)
        _, other = authority.issue("b.test")
        (tmp_path / "a.test.key").write_bytes(other.read_bytes())
        gateway.wait_for_line("[tls:a] key: does not match the certificate; keeping the previous certificate")
        assert shown(tmp_path, port) == renewed
        (tmp_path / "a.test.crt").unlink()
        gateway.wait_for_line("a.test.crt cannot be read: no such file or directory")
        assert shown(tmp_path, port) == renewed

        authority.issue("a.test")
        eventually(lambda: shown(tmp_path, port) != renewed, "the certificate that is right again")
        assert gateway.errors.count("does not match") == 1
        assert "Traceback" not in gateway.errors


@pytest.mark.parametrize("seconds", [0, 0.03, 0.3])
def test_term_in_the_middle(tmp_path, authority, seconds):
    def script(peer, backend):
        while peer.read_request() is not None:
            time.sleep(seconds)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + bytes(2000))

    port = free_port()
    with running(tmp_path, port, script=script) as gateway:
        with load(port, tls=trusting(tmp_path)) as clients:
            time.sleep(0.5)
            gateway.signal(signal.SIGTERM)
            for client in clients:
                client.join(15)
            assert not any(client.enough.is_set() for client in clients)
        assert gateway.wait() == 0
        assert "nothing was cut" in gateway.wait_for_line("stopped after")
        answered = sum(client.answered for client in clients)
        assert len(gateway.access(answered)) == answered


def test_a_silent_connection_does_not_hold_up_a_stop(tmp_path, authority):
    port = free_port()
    with running(tmp_path, port) as gateway:
        silent = socket.create_connection(("127.0.0.1", port))
        asked = Wire(connect(tmp_path, port))
        assert ask(asked) == 200
        started = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert time.monotonic() - started < 5
        assert asked.is_closed()
        silent.close()
        asked.sock.close()


@pytest.mark.parametrize(
    ("host", "words", "location"),
    [
        ("a.test", "redirect", "https://a.test/x?y=1"),
        ("a.test:8080", "redirect", "https://a.test/x?y=1"),
        ("[::1]:80", "redirect=8443", "https://[::1]:8443/x?y=1"),
        ("[::1]", "redirect", "https://[::1]/x?y=1"),
    ],
)
def test_redirect(tmp_path, authority, host, words, location):
    port, plain = free_port(), free_port()
    with running(tmp_path, port, "--bind", f"127.0.0.1:{plain} {words}") as gateway:
        with Wire(socket.create_connection(("127.0.0.1", plain), PATIENCE)) as wire:
            for method in ("GET", "HEAD", "DELETE"):
                wire.send(f"{method} /x?y=1 HTTP/1.1\r\nHost: {host}\r\n\r\n")
                answer = wire.read_response(head_only=method == "HEAD")
                assert (answer.status, answer["location"]) == (308, location)
                assert answer["strict-transport-security"] is None
            wire.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")
            assert wire.read_response().status == 308
        with Wire(socket.create_connection(("127.0.0.1", plain), PATIENCE)) as wire:
            wire.send("GET / HTTP/1.0\r\n\r\n")
            assert wire.read_response().status == 400
        assert gateway.line("/health")["route"] == "redirect"
        assert not gateway.backend.requests
        assert gateway.get("/").status == 200


def test_exceptions_from_a_redirect_are_served_by_the_ordinary_routes(tmp_path, authority):
    port, plain = free_port(), free_port()
    words = "redirect except=/.well-known/acme-challenge except=/health"
    with running(tmp_path, port, "--bind", f"127.0.0.1:{plain} {words}") as gateway:

        def ask(target, *fields):
            with Wire(socket.create_connection(("127.0.0.1", plain), PATIENCE)) as wire:
                lines = "".join(f"{field}\r\n" for field in ("Host: a.test", *fields))
                wire.send(f"GET {target} HTTP/1.1\r\n{lines}\r\n")
                return wire.read_response()

        challenge = ask("/.well-known/acme-challenge/token")
        assert (challenge.status, gateway.line("/.well-known/acme-challenge/token")["route"]) == (200, "r")
        assert gateway.backend.requests[0]["x-forwarded-proto"] == "http"
        assert b'"status"' in ask("/health").body, "the gateway's handlers run for exceptions"
        for target in (
            "/healthy", "/.well-known", "/x", "/health/..%2fx", "/health/%2e%2e/x", "/health;/../x", "/health%5c..%5cx",
        ):  # fmt: skip
            assert (ask(target).status, ask(target)["location"]) == (308, f"https://a.test{target}")
        assert ask("/x", "X-Forwarded-Proto: https").status == 308, "no trusted proxy"
        assert len(gateway.backend.requests) == 1


def test_a_redirect_serves_what_a_trusted_proxy_received_by_https(tmp_path, authority):
    port, plain = free_port(), free_port()
    proxies = "[gateway]\ntrusted_proxies = 127.0.0.0/8"
    with running(
        tmp_path, port, "--bind", f"127.0.0.1:{plain} redirect", ini=INI.replace("[gateway]", proxies)
    ) as gateway:
        for scheme, status in (("https", 200), ("http", 308)):
            with Wire(socket.create_connection(("127.0.0.1", plain), PATIENCE)) as wire:
                wire.send(f"GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: {scheme}\r\n\r\n")
                assert wire.read_response().status == status
        (request,) = gateway.backend.requests
        assert request["x-forwarded-proto"] == "https"


def test_a_certificate_that_cannot_be_used_is_no_start(tmp_path, authority):
    (tmp_path / "a.test.key").write_text("nothing")
    gateway = RunningGateway(
        INI.replace("{url}", "http://127.0.0.1:1"), tmp_path, "--bind", f"127.0.0.1:{free_port()} tls"
    )
    with pytest.raises(
        AssertionError, match=r"gproxy.ini:11: \[tls:a\] key: a.test.key holds no readable private key in PEM"
    ):
        gateway.__enter__()
    assert gateway.process.returncode == 2


ADMIN = """
[server]
workers = 2
[admin]
bind = 127.0.0.1:{port} tls=own
token = {token}
[tls:own]
certificate = first.crt
key = first.key
[route:r]
path = /
respond = 200
"""


def test_a_reload_changes_the_certificate_of_the_admin_listener(tmp_path, authority):
    for name in ("first", "second"):
        authority.issue("a.test", file=name)
    port = free_port()
    with RunningGateway(ADMIN.format(port=port, token="t" * 32), tmp_path) as gateway:
        gateway.wait_for_line("monitor: serves on")
        first, pids = shown(tmp_path, port), monitors(gateway)
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("first.", "second."))
        gateway.reload()
        eventually(lambda: shown(tmp_path, port) != first, "the second certificate")
        assert monitors(gateway) == pids
        second = shown(tmp_path, port)
        gateway.config.write_text(text.replace("first.crt", "second.crt"))  # with the key of the first
        gateway.signal(signal.SIGHUP)
        assert "[tls:own] key: does not match the certificate" in gateway.wait_for_line("gproxy.ini:9: ")
        gateway.wait_for_line("reload failed")
        assert shown(tmp_path, port) == second
