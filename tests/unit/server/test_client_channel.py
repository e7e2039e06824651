"""Waiting for a client: what it costs of the deadline, and interim responses."""

import socket
from types import SimpleNamespace

import gevent
import pytest

from gproxy.http.body import Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone
from gproxy.http.headers import Headers
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.runtime.channel import Channel, Interrupted
from gproxy.runtime.expired import Expired
from gproxy.server import client_pace as module
from gproxy.server.client_channel import ChannelSettings, ClientChannel, DisconnectWatch
from gproxy.testing import Clock


class RecordingAlarm:
    """An alarm that never fires; `calls` has what was set."""

    def __init__(self):
        self.greenlet = gevent.getcurrent()
        self.expires, self.limit = 110.0, TimeLimit.DEADLINE
        self.calls = []

    def set(self, expires, limit):
        self.expires, self.limit = expires, limit
        self.calls.append((expires, limit))

    def clear(self):
        self.calls.append("clear")


class ExpiringAlarm(RecordingAlarm):
    """An alarm that expires at the end of each limit; meanwhile the client takes so many bytes."""

    def __init__(self, scene, taken):
        super().__init__()
        self.scene, self.taken = scene, taken

    def set(self, expires, limit):
        super().set(expires, limit)
        if self.taken:
            gevent.get_hub().loop.run_callback(self._expire, expires, limit)

    def _expire(self, expires, limit):
        self.scene.clock.now = expires
        self.scene.channel.left -= self.taken.pop(0)
        self.greenlet.throw(Expired(limit))


class CountingChannel(ClientChannel):
    """A client channel whose system says how many bytes it holds."""

    left = 100_000

    def in_kernel(self):
        return self.left


class Scene:
    """A client channel with a deadline at 110, on a clock that stands at 100."""

    def __init__(self, monkeypatch):
        self.clock = Clock(100.0)
        monkeypatch.setattr(module, "monotonic", self.clock)
        sock, self.client = socket.socketpair()
        sock.setblocking(False)
        self.client.settimeout(5)
        self.alarm = RecordingAlarm()
        self.channel = CountingChannel(sock, self.alarm, ChannelSettings(body_timeout=30.0, write_timeout=20.0))
        self.channel.deadline = self.deadline = Deadline()
        self.deadline.expires = 110.0

    def later(self, function, *arguments):
        """After two seconds of waiting call this."""

        def act():
            self.clock.advance(2.0)
            function(*arguments)

        gevent.get_hub().loop.run_callback(act)


@pytest.fixture
def scene(monkeypatch):
    made = Scene(monkeypatch)
    yield made
    made.channel.close()
    made.client.close()


def test_waiting_for_a_body_is_no_time_of_the_deadline(scene):
    scene.later(scene.client.sendall, b"body")
    assert scene.channel.read(100) == b"body"
    assert scene.alarm.calls == [(130.0, TimeLimit.BODY), (112.0, TimeLimit.DEADLINE)]
    assert (scene.deadline.expires, scene.deadline.paused) == (112.0, 2.0)


def test_a_limit_of_one_wait_moves_too(scene):
    scene.alarm.expires, scene.alarm.limit = 105.0, TimeLimit.READ
    scene.later(scene.client.sendall, b"body")
    scene.channel.read(100)
    assert scene.alarm.calls[-1] == (107.0, TimeLimit.READ)


def test_bytes_that_are_there_set_no_alarm(scene):
    scene.channel.buffer = b"body"
    assert scene.channel.read(100) == b"body"
    scene.client.sendall(b"more")
    scene.channel.has_event = True
    assert scene.channel.read(100) == b"more"
    assert scene.alarm.calls == []


@pytest.mark.parametrize("is_own", [True, False])
def test_without_a_deadline_or_in_another_greenlet_no_alarm_is_set(scene, is_own):
    if is_own:
        scene.channel.start_tunnel()
    else:
        scene.alarm.greenlet = None
    assert scene.channel.in_own_greenlet() is is_own
    scene.later(scene.client.sendall, b"body")
    assert scene.channel.read(100) == b"body"
    assert scene.alarm.calls == []


def test_a_backend_that_answers_interrupts_the_upload(scene):
    sock, backend = socket.socketpair()
    sock.setblocking(False)
    peer = Channel(sock)
    scene.channel.interrupt_reads(peer)
    scene.later(backend.sendall, b"answer")
    with pytest.raises(Interrupted):
        scene.channel.read(100)
    assert scene.deadline.paused == 2.0
    scene.channel.interrupt_reads(None)
    scene.client.sendall(b"body")
    assert scene.channel.read(100) == b"body"
    peer.close()
    backend.close()


def test_a_reset_is_the_client_gone(scene):
    def reset(_limit):
        raise ConnectionResetError

    scene.channel._receive = reset
    scene.channel.has_event = True
    with pytest.raises(ClientGone):
        scene.channel.read(100)


def fill(scene):
    try:
        while True:
            scene.channel._raw.send(bytes(65536))
    except BlockingIOError:
        pass


def take_all(sock):
    sock.setblocking(False)
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


def test_a_client_that_does_not_read_has_the_write_timeout(scene):
    fill(scene)
    scene.later(take_all, scene.client)
    scene.channel.wait_writable()
    assert scene.alarm.calls == [(120.0, TimeLimit.WRITE), (112.0, TimeLimit.DEADLINE)]
    assert scene.deadline.paused == 2.0


LIMITS = ExchangeLimits.of_gateway(3.0)
STREAM = TimeLimit.TUNNEL.of(60.0, "tunnel_timeout of [route:a]")


def paced(scene, rate, limits=LIMITS):
    scene.channel.pace.min_rate = rate
    scene.deadline.begin(limits)


def test_bytes_of_an_upload_buy_time_and_waiting_spends_it(scene):
    paced(scene, 100)
    for size in (50, 6000):
        scene.later(scene.client.sendall, bytes(size))
        scene.channel.read(10_000)
    scene.later(scene.client.sendall, b"end")
    scene.channel.read(10_000)
    ends = [(round(expires, 3), limit) for expires, limit in scene.alarm.calls[::2]]
    assert ends == [
        (105.0, TimeLimit.RATE),
        (102 + 5 - 2 + 0.5, TimeLimit.RATE),
        (104 + 30.0, TimeLimit.BODY),  # no more than the timeout can be bought
    ]


def test_bytes_that_came_with_the_head_buy_time_too(scene):
    paced(scene, 100)
    scene.channel.buffer = bytes(200)
    scene.channel.read(1000)
    scene.later(scene.client.sendall, b"end")
    scene.channel.read(1000)
    assert scene.alarm.calls[0] == (107.0, TimeLimit.RATE)


@pytest.mark.parametrize(
    ("rate", "limits"), [(0, LIMITS), (100, ExchangeLimits(LIMITS.head, None, STREAM, STREAM))], ids=["off", "stream"]
)
def test_without_a_rate_only_the_timeouts_bound_a_client(scene, rate, limits):
    paced(scene, rate, limits)
    scene.later(scene.client.sendall, b"body")
    scene.channel.read(100)
    assert scene.alarm.calls[0] == (130.0, TimeLimit.BODY)
    fill(scene)
    scene.later(take_all, scene.client)
    scene.channel.wait_writable()
    assert scene.alarm.calls[2] == (122.0, TimeLimit.WRITE)


@pytest.mark.parametrize(
    ("rate", "taken", "limits", "why"),
    [
        (100, [0], [105], "client_slow"),
        (100, [200, 100, 0], [105, 107, 108], "client_slow"),
        (100, [200, 6000, 0], [105, 107, 107 + 20], "client_timeout"),
        (0, [0], [120], "client_timeout"),
        (0, [1, 1, 0], [120, 140, 160], "client_timeout"),
    ],
    ids=["nothing taken", "too little", "enough, then nothing", "off, nothing taken", "off, little"],
)
def test_a_reader_is_waited_for_as_long_as_it_takes_enough(scene, rate, taken, limits, why):
    paced(scene, rate)
    fill(scene)
    scene.channel.pace.alarm = alarm = ExpiringAlarm(scene, taken)
    with pytest.raises(Expired) as caught:
        scene.channel.wait_writable()
    assert [round(expires, 3) for expires, _ in alarm.calls[:-1]] == limits
    assert caught.value.limit.reason_after_head == why
    assert scene.deadline.paused == pytest.approx(limits[-1] - 100)


def test_what_a_reader_has_not_spent_holds_for_its_next_wait(scene):
    paced(scene, 100)
    for _ in range(2):
        fill(scene)
        scene.later(take_all, scene.client)
        scene.channel.wait_writable()
    assert [round(expires, 3) for expires, _ in scene.alarm.calls[::2]] == [105.0, 105.0]


@pytest.mark.parametrize("is_slow", [True, False])
def test_a_slow_reader_is_reported_once_and_waited_for_all_the_same(scene, is_slow):
    reports = []
    paced(scene, 100)
    scene.deadline.on_slow_reader = lambda: reports.append(scene.clock())
    fill(scene)
    if is_slow:
        scene.channel.pace.alarm = alarm = ExpiringAlarm(scene, [0, 0])
        with pytest.raises(Expired):
            scene.channel.wait_writable()
        assert [round(expires, 3) for expires, _ in alarm.calls[:-1]] == [101.0, 105.0]
        assert reports == [101.0]
    else:
        scene.later(take_all, scene.client)
        scene.channel.wait_writable()
        assert reports == []


def test_the_end_of_a_drain_ends_a_wait_for_a_reader(scene):
    fill(scene)
    gevent.get_hub().loop.run_callback(scene.alarm.greenlet.throw, Expired(TimeLimit.DRAINING))
    with pytest.raises(Expired, match="draining"):
        scene.channel.wait_writable()


def test_without_a_deadline_the_write_timeout_is_cleared(scene):
    scene.channel.deadline = None
    scene.channel.wait_writable()
    assert scene.alarm.calls == [(120.0, TimeLimit.WRITE), "clear"]


def interim(status, **headers):
    return SimpleNamespace(status=status, phrase="Phrase", headers=Headers(headers))


def received(scene):
    scene.channel.shut_writing()
    return scene.client.recv(65536)


def test_an_interim_response_passes_without_fields_of_framing(scene):
    head = interim(103, Link="</a>", **{"Content-Length": "5", "X-Request-ID": "other"})
    scene.channel.send_interim(head, Body())
    assert received(scene) == b"HTTP/1.1 103 Phrase\r\nLink: </a>\r\n\r\n"
    assert head.headers.get("content-length") == "5"  # the head itself stays


@pytest.mark.parametrize(("awaits", "sent"), [(True, b"HTTP/1.1 100 Continue\r\n\r\n"), (False, b"")])
def test_a_100_goes_to_a_client_that_waits_for_it(scene, awaits, sent):
    body = Body(on_first_read=scene.channel.send_continue if awaits else None)
    scene.channel.send_interim(interim(100), body)
    assert received(scene) == sent
    assert body.on_first_read is None


class Greenlet:
    """Keeps what is thrown into it."""

    def __init__(self):
        self.thrown = []

    def throw(self, error):
        self.thrown.append(error)


@pytest.mark.parametrize(
    ("data", "thrown", "stays"), [(b"", [ClientGone], False), (b"next", [], False), (None, [], True)]
)
def test_a_watch_tells_a_sender_that_its_client_has_left(scene, data, thrown, stays):
    greenlet = Greenlet()
    watch = DisconnectWatch(greenlet)
    scene.channel.watch(watch)
    if data:
        scene.client.sendall(data)
    elif data is not None:
        scene.client.close()
    watch.switch(scene.channel)
    assert greenlet.thrown == thrown
    assert scene.channel.watch(None) is (watch if stays else None)
