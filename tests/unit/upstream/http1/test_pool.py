"""The exceptions of urllib3 that connecting to a backend raises."""

import errno
import socket
import threading

import gevent
import pytest
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from gproxy.upstream.errors import TLSError
from gproxy.upstream.http1 import pool
from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http1.idle import Idle
from gproxy.upstream.http1.pool import PlainPool, TLSPool


class ScriptedEndpoint:
    """An endpoint that gives a socket, or raises."""

    def __init__(self, outcome):
        self.outcome = outcome

    def connect(self, timeout):
        self.timeout = timeout
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def connection(outcome, kind=PlainPool):
    made = kind("a.test", 80, maxsize=3, timeout=2.0, retries=False, endpoint=ScriptedEndpoint(outcome))
    return made._new_conn()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (TimeoutError(), ConnectTimeoutError),
        (socket.gaierror(socket.EAI_NONAME, "no"), NameResolutionError),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), NewConnectionError),
    ],
)
def test_what_connecting_raises(error, raised):
    made = connection(error)
    made.timeout = 2.0
    with pytest.raises(raised) as caught:
        made.connect()
    assert type(caught.value) is raised


def test_the_reason_of_a_refusal_is_its_cause():
    refused = OSError(errno.EMFILE, "full")
    with pytest.raises(NewConnectionError) as caught:
        connection(refused).connect()
    assert caught.value.__cause__ is refused


def test_a_connection_goes_over_the_endpoints_socket():
    here, there = socket.socketpair()
    made = connection(here)
    made.timeout = 2.0
    made.connect()
    assert made._endpoint.timeout == 2.0
    http1 = made.http1("10.0.0.1:80", None)
    assert type(http1) is HTTP1Connection
    assert repr(http1) == "<HTTP1Connection 10.0.0.1:80 NEW, 0 requests>"
    http1.channel.send(b"hello")
    assert there.recv(10) == b"hello"
    http1.close()
    there.close()


def test_pools_keep_idle_connections_in_our_queue():
    for kind in (PlainPool, TLSPool):
        made = kind("a.test", 80, maxsize=3, endpoint=None)
        assert isinstance(made.pool, Idle)
        assert made.pool.maxsize == 3


def test_the_hub_closes_the_connections_of_a_lost_pool_though_another_thread_has_collected_it():
    here, there = socket.socketpair()
    made = PlainPool("a.test", 80, maxsize=3, endpoint=ScriptedEndpoint(here), timeout=2.0)
    opened = made._new_conn()
    opened.timeout = 2.0
    opened.connect()
    http1 = opened.http1("10.0.0.1:80", None)
    closed_by = []

    class Closing:
        def close(self):
            closed_by.append(threading.get_ident())
            opened.close()

    http1._connection = Closing()
    made.pool.put(http1)
    held = [made]
    del made
    collecting = threading.Thread(target=held.clear)
    collecting.start()
    collecting.join()
    assert not held
    assert not closed_by
    gevent.sleep(0)
    assert closed_by == [threading.get_ident()]
    assert there.recv(10) == b""
    there.close()


def test_an_error_of_the_handshake_is_a_tls_error(monkeypatch):
    error = OSError(errno.ECONNRESET, "reset")

    def connect(_):
        raise error

    monkeypatch.setattr(pool.HTTPSConnection, "connect", connect)
    made = connection(None, TLSPool)
    made.timeout = 2.0
    with pytest.raises(TLSError) as caught:
        made.connect()
    assert caught.value.args == (error,)
