"""A burst of requests to one backend: how many connections a turn of the loop opens, and who gets what comes back."""

import gevent
import pytest

from gproxy.config.types import BackendURL
from gproxy.http.request import request
from unit.upstream.backends import backend_of, send

from .conftest import turn_until

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Burst:
    """Greenlets that lease connections of one backend, and the turns of the loop in which it was dialled."""

    def __init__(self, endpoint):
        self.backend = backend_of(BackendURL.parse("http://a.test:81"), keepalive=100, connect_timeout=3.0)
        self.backend.connections.pool.conn_kw["endpoint"] = self
        self.connections, self.served, self.turns = [], [], {}
        self._endpoint = endpoint

    def connect(self, timeout):
        now = gevent.get_hub().loop.now()
        self.turns[now] = self.turns.get(now, 0) + 1
        return self._endpoint.connect(timeout)

    def ask(self, *names):
        """Lease a connection in a greenlet for each name."""
        return [gevent.spawn(self._lease, name) for name in names]

    def _lease(self, name):
        self.connections.append(self.backend.connection(request()))
        self.served.append(name)

    def return_one(self):
        connection = self.connections.pop(0)
        send(connection, b"GET / HTTP/1.1\r\n\r\n", request())
        self.backend.release(connection, keep=True)

    def close(self):
        for connection in self.connections:
            self.backend.drop(connection)
        self.backend.retire()


@pytest.fixture
def burst(scripted_endpoint):
    made = Burst(scripted_endpoint(*([NO_CONTENT] for _ in range(200))))
    yield made
    made.close()


def test_turns_open_sixteen_connections_or_half_as_many_as_there_are(burst):
    burst.ask(*range(130))
    turn_until(lambda: len(burst.served) == 130)
    assert list(burst.turns.values()) == [16, 16, 16, 24, 36, 22]
    assert burst.served == list(range(130))


def test_a_connection_that_returns_serves_a_request_that_waits(burst):
    burst.ask(*range(16))
    turn_until(lambda: len(burst.served) == 16)
    burst.ask(*"abcdefghijklmnopqrst")
    gevent.sleep(0)
    for _ in range(4):
        burst.return_one()
    turn_until(lambda: len(burst.served) == 36)
    assert burst.served[16:] == list("abcdefghijklmnopqrst")
    assert sum(burst.turns.values()) == 32  # of 36 requests, four got what others had returned


def test_a_request_that_ends_while_it_waits_is_no_lease(burst):
    waiting = burst.ask(*range(40))[20]
    gevent.sleep(0)
    waiting.kill()
    assert burst.backend.active == 39
    turn_until(lambda: len(burst.served) == 39)
    assert (20 in burst.served, burst.backend.active) == (False, 39)
