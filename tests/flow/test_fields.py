"""What the gateway adds to a request, and what it tells: placeholders, TRACE, clients on unix sockets."""

import socket

import pytest
from scenes import scene

from gproxy.testing.gateway import PATIENCE, Wire

INI = """
[gateway]
handlers = health, own, denied
[route:all]
path = /
upstream = one
[route:closed]
path = /closed
upstream = one
handlers = office
[upstream:one]
backends = {one}
[handler:own]
use = headers
request = X-Internal: 10.9.8.7, X-Who: {client}, Authorization: Basic c2VjcmV0
[handler:denied]
use = allow
deny = 192.0.2.0/24
[handler:office]
use = allow
allow = 10.1.0.0/16
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    with scene(INI, "one", folder, arguments=("--bind", f"unix:{folder}/g.sock")) as found:
        found.path = str(folder / "g.sock")
        yield found


def ask(play, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(play.path)
        with Wire(sock) as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
            return wire.read_response().status


def test_deny_alone_admits_a_peer_on_a_unix_socket(play):
    assert ask(play, "/1") == 200
    seen = play.one.requests[-1]
    assert [seen[name] for name in ("x-real-ip", "x-forwarded-for", "x-who")] == ["unknown"] * 3


def test_a_list_of_networks_does_not_admit_it(play):
    assert ask(play, "/closed") == 403


def test_trace_shows_the_message_as_received(play):
    sent = "TRACE /a?b HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\nx-mine: 1\r\nX-Mine: 2\r\nConnection: X-Hop\r\nX-Hop: 3\r\n"
    secrets = (
        "Cookie: a=b\r\nAuthorization: Bearer x\r\nProxy-Authorization: Basic x\r\nX-API-Key: k\r\nX-CSRF-Token: t\r\n"
    )
    answer = play.gateway.ask(f"{sent}{secrets}\r\n")
    assert (answer.status, answer["content-type"]) == (200, "message/http")
    shown = answer.body.decode().split("\r\n")
    assert shown[-2:] == ["", ""]
    assert sorted(shown[1:-2]) == sorted(sent.split("\r\n")[1:-1])
    assert not play.one.requests
