"""A request that is sent again: what may be changed, and what is rejected before anything is sent."""

from contextlib import closing
from types import SimpleNamespace

import gevent
import gevent.socket
import pytest

from gproxy.config.types import Address
from gproxy.monitor import own_request
from gproxy.monitor.own_request import BodyNotKeptError, OwnRequest, send
from unit.dev.entries import body, entry


def recorded(data=b'{"a": 1}', *, is_whole=True):
    headers = [["Host", "a"], ["Content-Length", "8"], ["Connection", "close"], ["X-A", "1"]]
    request = {"line": "", "headers": headers, "body": 0}
    return entry(method="POST", request=request, bodies=[body(data, is_whole=is_whole)])


def test_a_request_goes_as_it_came_without_the_fields_of_its_connection():
    own = OwnRequest.of(recorded(), {})
    assert (own.method, own.target, own.body) == ("POST", "/users/1", b'{"a": 1}')
    assert own.headers == [("Host", "a"), ("X-A", "1")]


def test_each_part_can_be_changed():
    changes = {"method": "PUT", "target": "/x?y=%20", "headers": "Host: b\n\nX-B:  2 \n", "body": "é"}
    own = OwnRequest.of(recorded(is_whole=False), changes)
    assert own == OwnRequest("PUT", "/x?y=%20", [("Host", "b"), ("X-B", "2")], "é".encode(), "http")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"method": "G T"}, "is no method"), ({"method": ""}, "is no method"), ({"target": "users"}, "is no target"),
        ({"target": "/a b"}, "is no target"), ({"target": "/é"}, "is no target"),
        ({"target": "/a\r\nX: y"}, "is no target"), ({"headers": "no colon"}, "is no header"),
        ({"headers": "A: b\nB c: d"}, "is no header"), ({"headers": "A: b\x00"}, "is no header"),
        ({"headers": ": v"}, "is no header"),
    ],
)  # fmt: skip
def test_what_would_garble_the_request_is_rejected(changes, problem):
    with pytest.raises(ValueError, match=problem):
        OwnRequest.of(recorded(), changes)


def test_a_body_that_is_not_whole_is_not_sent():
    with pytest.raises(BodyNotKeptError, match="body of the request is longer than what is kept"):
        OwnRequest.of(recorded(is_whole=False), {})


@pytest.mark.parametrize("is_broken_off", [False, True])
def test_a_response_without_an_end_has_a_status(monkeypatch, is_broken_off):
    """A stream of events, and a body that is broken off."""
    monkeypatch.setattr(own_request, "_READING", 0.05)
    monkeypatch.setattr("socket.create_connection", gevent.socket.create_connection)
    with closing(gevent.socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve():
            with listener.accept()[0] as client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nX-Request-ID: 1f\r\n\r\ndata: 1\n\n")
                if not is_broken_off:
                    client.recv(1)

        server = gevent.spawn(serve)
        bind = [Address.parse(f"127.0.0.1:{listener.getsockname()[1]}")]
        with gevent.Timeout(10):
            own = OwnRequest("GET", "/events", [("Host", "a")], b"", "http")
            status, fields = send(own, SimpleNamespace(server=SimpleNamespace(bind=bind)))
            server.join()
    assert (status, fields["x-request-id"]) == (200, "1f")
