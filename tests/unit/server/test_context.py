"""The limits on open connections."""

from types import SimpleNamespace

import pytest

from gproxy.config.sections.server import ServerSettings
from gproxy.http.trust import Trust
from gproxy.runtime import Runtime
from gproxy.server.context import Connections, ServerContext

FULL = "too many connections"
FULL_FOR_ADDRESS = "too many connections from your address"


class Connection:
    """An open connection of an address."""

    def __init__(self, peer="192.0.2.1"):
        self.peer = peer
        self.alarm = SimpleNamespace(greenlet=object())


def admitted(connections, *peers):
    return [connections.admit(Connection(peer)) for peer in peers]


def test_without_limits_all_are_admitted():
    connections = Connections(0, 0)
    assert admitted(connections, *["192.0.2.1"] * 3) == [""] * 3
    assert len(connections) == 3


def test_the_limit_of_all_connections():
    connections = Connections(2, 0)
    first = Connection()
    assert connections.admit(first) == ""
    assert admitted(connections, "192.0.2.2", "192.0.2.3") == ["", FULL]
    connections.forget(first)
    assert admitted(connections, "192.0.2.4", "192.0.2.5") == ["", FULL]


def test_the_limit_of_an_address():
    connections = Connections(0, 1)
    assert admitted(connections, "192.0.2.1", "192.0.2.2", "192.0.2.1") == ["", "", FULL_FOR_ADDRESS]


def test_addresses_of_one_ipv6_network_count_together():
    assert admitted(Connections(0, 1), "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1") == ["", FULL_FOR_ADDRESS, ""]


def test_the_end_of_a_connection_frees_the_place_of_its_address():
    connections, first, second = Connections(0, 1), Connection(), Connection()
    connections.admit(first)
    assert connections.admit(second) == FULL_FOR_ADDRESS
    connections.forget(second)  # it never had the place
    assert admitted(connections, "192.0.2.1") == [FULL_FOR_ADDRESS]
    connections.forget(first)
    assert admitted(connections, "192.0.2.1") == [""]


def test_rejected_connections_are_open_but_take_no_place():
    connections, first, second = Connections(1, 0), Connection(), Connection()
    connections.admit(first)
    assert connections.admit(second) == FULL
    assert set(connections) == {first, second}
    connections.forget(first)
    assert admitted(connections, "192.0.2.1") == [""]


def test_a_connection_whose_peer_is_unknown_is_open_and_counts_once():
    connections, one = Connections(1, 1), Connection()
    connections.add(one)
    assert len(connections) == 1
    assert connections.admit(one) == ""
    connections.forget(one)
    connections.add(one)
    connections.discard(one)
    assert len(connections) == 0


@pytest.mark.parametrize(("rejected", "may_close_slowly"), [(100, True), (101, False)])
def test_a_hundred_rejected_connections_may_close_slowly(rejected, may_close_slowly):
    connections = Connections(1, 0)
    admitted(connections, *["192.0.2.1"] * (rejected + 1))
    assert connections.may_close_slowly is may_close_slowly


def test_connections_may_end_while_they_are_listed():
    connections = Connections(0, 0)
    admitted(connections, "192.0.2.1", "192.0.2.2")
    for connection in connections:
        connections.forget(connection)
    assert len(connections) == 0


def test_each_listener_has_its_own_timers_and_connections():
    settings, gateway = ServerSettings(max_connections=1), SimpleNamespace(trust=Trust(()))
    runtime = Runtime()
    one, other = (ServerContext.of(settings, gateway, runtime) for _ in range(2))
    assert one.runtime is other.runtime is runtime
    assert one.wheel is not other.wheel
    assert admitted(one.connections, "a", "b") == ["", FULL]
    assert admitted(other.connections, "a") == [""]
