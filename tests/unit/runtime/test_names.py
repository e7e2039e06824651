"""Look-ups of names, some of which wait for a dead name server."""

import _socket
import os
import socket

import gevent
import pytest

from gproxy.runtime.names import Names

ADDRESSES = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]


class System:
    """The system's resolver: look-ups of names that begin with `dead` block their threads until `revive`."""

    def __init__(self):
        self.asked = []
        self.answers, self._end = os.pipe()

    def __call__(self, host, *_):
        self.asked.append(host)
        if host.startswith("dead"):
            os.read(self.answers, 1)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ADDRESSES

    def revive(self, count):
        os.write(self._end, b"." * count)


@pytest.fixture
def system(monkeypatch):
    made = System()
    monkeypatch.setattr(_socket, "getaddrinfo", made)
    return made


def test_a_name_has_the_addresses_of_the_system_each_once(system):
    assert Names(1).addresses("live") == ["10.0.0.2", "10.0.0.1"]


@pytest.mark.timeout(20)
def test_dead_names_of_one_kind_and_busy_threads_delay_no_other_kind(system):
    of_issuers, of_backends = Names(2), Names(1)
    waiting = [gevent.spawn(of_issuers.addresses, f"dead{number}") for number in range(5)]
    offloaded = [gevent.get_hub().threadpool.spawn(os.read, system.answers, 1) for _ in range(10)]
    gevent.sleep(0.01)
    assert of_backends.addresses("live") == ["10.0.0.2", "10.0.0.1"]
    system.revive(15)
    gevent.joinall([*waiting, *offloaded])
    assert all(isinstance(one.exception, socket.gaierror) for one in waiting)


@pytest.mark.timeout(20)
def test_fewer_dead_names_than_threads_delay_no_name_of_their_kind(system):
    names = Names(3)
    waiting = [gevent.spawn(names.addresses, f"dead{number}") for number in range(2)]
    gevent.sleep(0.01)
    assert names.addresses("live") == ["10.0.0.2", "10.0.0.1"]
    system.revive(2)
    gevent.joinall(waiting)


def test_callers_of_one_name_share_a_look_up_which_outlives_them(system):
    names = Names(3)
    first, second = gevent.spawn(names.addresses, "dead"), gevent.spawn(names.addresses, "dead")
    gevent.sleep(0.01)
    first.kill()
    system.revive(1)
    gevent.joinall([second])
    assert isinstance(second.exception, socket.gaierror)
    assert system.asked == ["dead"]


def test_a_name_that_is_none_does_not_resolve():
    with pytest.raises(socket.gaierror, match="the name is invalid"):
        Names(1).addresses("a" * 64)
