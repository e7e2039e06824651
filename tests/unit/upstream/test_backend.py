"""One address: its names, its lease count and what /health shows of it."""

import pytest
from urllib3.exceptions import NewConnectionError

from gproxy.config.types import BackendURL
from gproxy.http.deadline import Deadline
from gproxy.http.request import request
from gproxy.testing import Clock
from gproxy.upstream.http1.connection import ConnectionState
from unit.upstream.backends import backend_of, send


def backend(text="http://a.test:81", **options):
    return backend_of(BackendURL.parse(text), **{"keepalive": 2, "connect_timeout": 3.0, **options})


NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def dialled(scripted_endpoint):
    """A backend and its endpoint, with the outcome of each new connection: a script, or an exception."""

    def make(*outcomes):
        made, endpoint = backend(), scripted_endpoint(*outcomes)
        made.connections.pool.conn_kw["endpoint"] = endpoint
        return made, endpoint

    return make


def lease(made, left=60.0):
    """Lease a connection, and receive a response without a body over it."""
    connection = made.connection(asked(left))
    send(connection, b"GET / HTTP/1.1\r\n\r\n", request())
    return connection


def is_closed(connection):
    return connection.state is ConnectionState.CLOSED


def asked(left=60.0):
    """A request with so much time left."""
    clock, made = Clock(), request()
    made.deadline = Deadline(clock=clock)
    made.deadline.expires = clock.now + left
    return made


@pytest.mark.parametrize(
    ("text", "addresses", "name", "label", "authority"),
    [
        ("http://a.test:81", (), "a.test:81", "http://a.test:81", "a.test:81"),
        ("http://a.test", (), "a.test:80", "http://a.test:80", "a.test"),
        ("http://a.test:81", ("192.0.2.1", "192.0.2.2"), "192.0.2.1:81", "http://192.0.2.1:81", "a.test:81"),
        ("https://a.test", ("2001:db8::1",), "[2001:db8::1]:443", "https://[2001:db8::1]:443", "a.test"),
    ],
)
def test_the_names_of_a_backend(text, addresses, name, label, authority):
    made = backend(text, addresses=addresses)
    assert (made.name, made.label, made.authority) == (name, label, authority)


def test_a_unix_backend_is_its_path():
    made = backend("unix:/run/a.sock")
    assert made.label == made.name
    assert "/run/a.sock" in made.name


def test_marks_of_the_file():
    made = backend("http://a weight=3 max_connections=5 backup drain")
    assert (made.weight, made.max_connections, made.is_backup, made.is_draining, made.is_down) == (
        3,
        5,
        True,
        True,
        False,
    )
    assert backend().max_connections == 0


@pytest.mark.parametrize(
    ("words", "eligible", "healthy"),
    [("", True, True), (" down", False, False), (" drain", False, True), (" weight=0", False, True)],
)
def test_which_backends_take_new_clients(words, eligible, healthy):
    made = backend(f"http://a{words}")
    assert (made.is_eligible, made.is_healthy) == (eligible, healthy)


def test_an_ejected_backend_is_eligible_as_a_last_resort():
    made = backend()
    made.health.eject(105.0, "reset")
    assert (made.is_eligible, made.is_healthy) == (True, False)


def test_a_backend_is_full_at_its_limit():
    made, seen = backend("http://a max_connections=2"), []
    made.load_observer = lambda one: seen.append(one.active)
    made.active += 1
    assert not made.is_full
    made.active += 1
    assert made.is_full
    assert seen == [1, 2]
    assert not backend().is_full  # no limit


def test_a_lease_counts_from_the_dial_to_the_release(dialled):
    made, endpoint = dialled([NO_CONTENT])
    connection = lease(made)
    assert (made.active, made.attempts) == (1, 1)
    assert repr(connection) == "<HTTP1Connection a.test:81 ACTIVE, 1 request>"
    made.release(connection, keep=True)
    assert (made.active, made.attempts, is_closed(connection)) == (0, 1, False)
    assert made.connection(asked()) is connection
    assert endpoint.timeouts == [3.0]  # the second lease dialled nothing
    made.drop(connection)


def test_the_deadline_bounds_the_connect_timeout(dialled):
    made, endpoint = dialled([])
    made.drop(made.connection(asked(left=1.5)))
    assert endpoint.timeouts == [1.5]


def test_a_failed_dial_is_an_attempt_and_no_lease(dialled):
    made, _ = dialled(ConnectionRefusedError())
    with pytest.raises(NewConnectionError):
        made.connection(asked())
    assert (made.active, made.attempts) == (0, 1)


@pytest.mark.parametrize(("keep", "response"), [(False, NO_CONTENT), (True, NO_CONTENT + b"HTTP/1.1")])
def test_a_connection_that_cannot_be_kept_is_closed(dialled, keep, response):
    made, _ = dialled([response])
    connection = lease(made)
    made.release(connection, keep=keep)
    assert (made.active, is_closed(connection), made._idle.take()) == (0, True, None)


def test_idle_connections_close_with_a_stale_one(dialled):
    made, _ = dialled([NO_CONTENT], [NO_CONTENT])
    connections = [lease(made) for _ in range(2)]
    for connection in connections:
        made.release(connection, keep=True)
    stale = made.connection(asked())
    stale.is_stale = True
    stale.idle_since -= 4.0
    made.drop(stale)
    assert [is_closed(connection) for connection in connections] == [True, True]
    assert 2.0 <= made._idle.usable_for < 3.0


def test_a_retired_backend_keeps_no_connection(dialled):
    made, _ = dialled([NO_CONTENT])
    connection = lease(made)
    made.retire()
    made.release(connection, keep=True)
    assert is_closed(connection)


def test_all_observers_see_each_exchange():
    made, seen = backend(), []
    for name in "ab":
        made.observe_with(lambda seconds, answered, name=name: seen.append((name, seconds, answered)))
    made.observer(0.5, True)
    assert seen == [("a", 0.5, True), ("b", 0.5, True)]


def test_a_snapshot_of_a_healthy_backend():
    made = backend("http://192.0.2.1:81")
    made.active, made.attempts, made.failures = 1, 5, 2
    assert made.snapshot(100.0) == {
        "backend": "http://192.0.2.1:81", "state": "healthy", "active": 1, "attempts": 5, "failures": 2,
    }  # fmt: skip


def test_a_snapshot_of_an_ejected_backend_says_why_and_until_when():
    made = backend("http://a.test:81", addresses=["192.0.2.1"])
    made.health.eject(105.04, "reset")
    facts = made.snapshot(100.0)
    assert (facts["state"], facts["why"], facts["next_try_in"], facts["name"]) == ("unhealthy", "reset", 5.0, "a.test")
    assert made.snapshot(200.0)["next_try_in"] == 0.0


@pytest.mark.parametrize(("words", "state"), [(" down", "down"), (" drain", "draining"), ("", "healthy")])
def test_the_state_of_a_marked_backend(words, state):
    assert backend(f"http://a{words}").snapshot(0.0)["state"] == state


def test_a_draining_backend_that_fails_is_unhealthy():
    made = backend("http://a drain")
    made.health.mark_failing("reset")
    assert made.snapshot(0.0)["state"] == "unhealthy"


def test_a_backend_shows_its_state_and_load():
    made = backend()
    made.active = 2
    assert repr(made) == "<Backend a.test:81 healthy, 2 active>"
    made.health.eject(105.0, "reset")
    assert repr(made) == "<Backend a.test:81 unhealthy (reset), 2 active>"


def test_a_half_open_backend_is_on_trial():
    made = backend()
    made.health.eject(105.0, "reset")
    made.health.try_with(request(), 130.0)
    assert (made.snapshot(100.0)["state"], made.snapshot(100.0)["why"]) == ("trial", "reset")
