"""The end of listeners and connections, with a clock that moves when the drain sleeps."""

from types import SimpleNamespace

import pytest

from gproxy.http.time_limit import TimeLimit
from gproxy.server import drain as module
from gproxy.server.drain import Drain
from gproxy.testing import Clock, request


class Connection:
    """Ends once it is cut, or at a time."""

    def __init__(self, *, is_tunnel=False, ends=None, has_request=True, stays=False):
        self.is_tunnel = is_tunnel
        self.ends = ends
        self.stays = stays
        self.request = request("GET", "/x") if has_request else None
        self.was_cut = False

    @property
    def active_requests(self):
        return [self] if self.request is not None else []

    def cut(self, limit):
        self.was_cut = limit == TimeLimit.DRAINING


class Stream:
    """A request of a connection with many."""

    def __init__(self, path, *, is_tunnel=False):
        self.request = request("GET", path)
        self.request.exchange.is_tunnel = is_tunnel
        self.was_cut = False

    def cut(self, limit):
        self.was_cut = limit == TimeLimit.DRAINING


class Multiplexed:
    """A connection with many requests, which ends with the last one, or when it is cut."""

    ends = None
    stays = False
    request = None

    def __init__(self, *streams):
        self.streams = streams
        self.is_cut = False

    @property
    def active_requests(self):
        return [stream for stream in self.streams if not stream.was_cut]

    @property
    def is_tunnel(self):
        active = self.active_requests
        return bool(active) and all(stream.request.exchange.is_tunnel for stream in active)

    @property
    def was_cut(self):
        return self.is_cut or not self.active_requests

    def cut(self, limit):
        self.is_cut = limit == TimeLimit.DRAINING


class Listener:
    """A listener with connections."""

    def __init__(self, *connections):
        self.open = list(connections)
        self.events = []

    @property
    def connections(self):
        return list(self.open)

    def __getattr__(self, name):
        return lambda: self.events.append(name)


class Scene:
    """A drain whose sleeps advance the clock and end connections."""

    def __init__(self, monkeypatch, *connections, grace=5.0):
        self.clock = Clock(100.0)
        self.listener = Listener(*connections)
        self.drain = Drain([self.listener], grace)
        self.stop_at = None
        monkeypatch.setattr(module, "monotonic", self.clock)
        monkeypatch.setattr(module, "gevent", SimpleNamespace(sleep=self.sleep))
        self.drain._stopping = self
        self.is_stopping = False

    def sleep(self, seconds):
        self.clock.advance(seconds)
        now = self.clock()
        self.listener.open = [
            one
            for one in self.listener.open
            if one.stays or not (one.was_cut or (one.ends is not None and now >= one.ends))
        ]

    # the event of a stop
    def is_set(self):
        return self.is_stopping

    def set(self):
        self.is_stopping = True

    def wait(self, seconds):
        self.sleep(seconds)
        if self.stop_at is not None and self.clock() >= self.stop_at and not self.is_stopping:
            self.drain.stop()
        return self.is_stopping

    def run(self):
        return self.drain.run(), round(self.clock() - 100.0, 1)


def test_without_connections_it_ends_at_once(monkeypatch):
    some = Scene(monkeypatch)
    assert some.run() == (0, 0.0)
    assert some.listener.events == ["drain"]


def test_requests_have_the_grace(monkeypatch):
    assert Scene(monkeypatch, Connection(ends=103.0)).run() == (0, 3.0)


def test_what_exceeds_the_grace_is_cut_and_logged(monkeypatch, caplog):
    slow, idle = Connection(), Connection(has_request=False)
    assert Scene(monkeypatch, slow, idle).run() == (1, 5.0)
    assert slow.was_cut
    assert idle.was_cut
    assert caplog.messages == ["test GET /x: cut, not finished within grace"]


def test_the_grace_is_never_shorter_than_the_time_for_a_last_request(monkeypatch):
    assert Scene(monkeypatch, Connection(ends=100.9), grace=0.0).run() == (0, 0.9)


def test_what_does_not_end_when_it_is_cut_has_a_second_more(monkeypatch):
    some = Scene(monkeypatch, Connection(stays=True))
    some.drain.stop()
    some.stop_at = 100.0
    some.drain._finish()
    assert 106.0 <= some.clock() < 106.1


@pytest.mark.parametrize("stops", [False, True])
def test_what_outlives_its_cut_is_given_up(monkeypatch, caplog, stops):
    """It is counted and logged once, and no drain waits for it."""
    some = Scene(monkeypatch, Connection(stays=True), Connection())
    if stops:
        some.drain.stop()
    assert some.run() == (2, 6.0)
    assert caplog.messages == ["test GET /x: cut, not finished within grace"] * 2


def test_a_tunnel_beside_a_stuck_request_has_its_time(monkeypatch):
    some = Scene(monkeypatch, Connection(stays=True), Connection(is_tunnel=True, ends=200.0))
    count, seconds = some.run()
    assert count == 1
    assert 100.0 <= seconds < 101.0


def test_tunnels_outlive_the_grace_until_a_stop(monkeypatch):
    tunnel = Connection(is_tunnel=True)
    some = Scene(monkeypatch, tunnel)
    some.stop_at = 160.0
    count, seconds = some.run()
    assert (count, tunnel.was_cut) == (1, True)
    assert 65.0 <= seconds < 66.0


def test_a_tunnel_may_end_by_itself(monkeypatch):
    tunnel = Connection(is_tunnel=True, ends=200.0)
    count, seconds = Scene(monkeypatch, tunnel).run()
    assert (count, tunnel.was_cut) == (0, False)
    assert 100.0 <= seconds < 101.0


def test_a_stop_before_the_start_bounds_tunnels_too(monkeypatch):
    some = Scene(monkeypatch, Connection(is_tunnel=True))
    some.drain.stop()
    assert some.run() == (1, 5.0)


@pytest.mark.parametrize(("for_good", "events"), [((0,), ["accept_queued", "close"]), ((1,), ["close"])])
def test_a_listener_that_ends_for_good_takes_what_waits(monkeypatch, for_good, events):
    some = Scene(monkeypatch)
    some.drain.close_listeners(for_good)
    assert some.listener.events == events


def test_each_request_of_a_connection_is_cut_and_logged(monkeypatch, caplog):
    connection = Multiplexed(Stream("/a"), Stream("/b"))
    assert Scene(monkeypatch, connection).run() == (2, 5.0)
    assert not connection.is_cut, "it ends with its last request"
    assert caplog.messages == [f"test GET {path}: cut, not finished within grace" for path in ("/a", "/b")]


def test_tunnels_beside_other_requests_outlive_the_grace_until_a_stop(monkeypatch, caplog):
    tunnel, other = Stream("/tunnel", is_tunnel=True), Stream("/other")
    some = Scene(monkeypatch, Multiplexed(tunnel, other))
    some.stop_at = 160.0
    count, seconds = some.run()
    assert (count, other.was_cut, tunnel.was_cut) == (2, True, True)
    assert 65.0 <= seconds < 66.0
    assert [message.split()[2] for message in caplog.messages] == ["/other:", "/tunnel:"]
