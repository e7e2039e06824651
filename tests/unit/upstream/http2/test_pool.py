"""The connections of one pool: who gets which, who waits, and when one more is opened."""

import gc
import ssl

import gevent
import pytest
from http2_backend import HTTP2Backend
from urllib3.exceptions import ConnectTimeoutError

from gproxy.config.types import BackendURL
from gproxy.http.body import NO_BODY
from gproxy.http.errors import ClientGone
from gproxy.http.h2.events import HeadReceived
from gproxy.http.h2.frames import NO_ERROR
from gproxy.http.headers import Headers
from gproxy.http.request import request
from gproxy.testing.authority import Authority
from gproxy.upstream.errors import NotHTTP2Error, NoUpgradeError, RefusedStreamError, TLSError
from gproxy.upstream.http1 import tls_session
from gproxy.upstream.http1.connection import HTTP1Connection
from gproxy.upstream.http2.connection import HTTP2Connection
from gproxy.upstream.http2.pool import HTTP2Pool

from .conftest import Writer, turn_until

pytestmark = pytest.mark.timeout(10)
NAME = "10.0.0.1:80"
OLD = f"<HTTP1Connection {NAME} NEW, 0 requests>"


class Scene:
    """A pool, and the backend's end of each connection that it opens: `outcomes` has options of peers, or errors."""

    def __init__(self, pair, clock, *outcomes, url="http://10.0.0.1", **options):
        self.outcomes = list(outcomes)
        self.peers = []
        self.clock = clock
        self.dials = 0
        self._pair = pair
        self.pool = HTTP2Pool(
            BackendURL.parse(url), keepalive=2, connect_timeout=0.2, clock=clock, **{"most": 2, **options}
        )
        self.pool._sockets.connect = self._connect

    def _connect(self, timeout):
        self.dials += 1
        outcome = self.outcomes.pop(0) if self.outcomes else {}
        gevent.sleep(0)
        if isinstance(outcome, BaseException):
            raise outcome
        outcome = dict(outcome)
        is_silent = outcome.pop("is_silent", False)
        sock, peer = self._pair(**outcome)
        sock.http1 = lambda name, observe: HTTP1Connection(sock, sock.channel(), name, observe)
        self.peers.append(peer)
        if sock.protocol == "h2" and not is_silent:
            peer.start()
        return sock

    def lease(self, upgrade=None, client=None, tries=1):
        asked = request()
        asked.tries = tries
        asked.upgrade, asked.client_stream = upgrade, client
        return self.pool.lease(NAME, None, asked)

    def leases(self, count):
        """So many leases at the same time, in greenlets."""
        greenlets = [gevent.spawn(self.lease) for _ in range(count)]
        gevent.sleep(0)
        return greenlets


@pytest.fixture
def scene(pair, clock):
    made = []

    def make(*outcomes, **options):
        made.append(Scene(pair, clock, *outcomes, **options))
        return made[-1]

    yield make
    for one in made:
        one.pool.close()


def test_all_share_one_connection(scene):
    one = scene()
    leased = [greenlet.get(timeout=1) for greenlet in one.leases(20)]
    assert one.dials == 1
    assert len({id(lease._connection) for lease in leased}) == 1
    assert len(one.pool) == 0
    for lease in leased:
        lease.close()
    assert len(one.pool) == 1


def test_a_full_connection_makes_another_one_and_then_requests_wait_in_turn(scene):
    one = scene({"max_streams": 2}, {"max_streams": 2})
    waiting = one.leases(6)
    turn_until(lambda: sum(greenlet.ready() for greenlet in waiting) == 4)
    gevent.sleep(0.01)
    assert [greenlet.ready() for greenlet in waiting] == [True] * 4 + [False] * 2
    assert one.dials == 2
    waiting[3].get().close()
    assert waiting[4].get(timeout=1) is not None
    assert not waiting[5].ready()
    waiting[0].get().close()
    waiting[5].get(timeout=1)
    assert one.dials == 2


def test_a_request_that_comes_while_others_wait_waits_behind_them(scene):
    one = scene({"max_streams": 1}, most=1)
    first, second = one.leases(2)
    held = first.get(timeout=1)
    third = gevent.spawn(one.lease)
    gevent.sleep(0)
    held.close()
    next_one = second.get(timeout=1)
    assert not third.ready()
    next_one.close()
    third.get(timeout=1).close()


def test_a_repeated_request_waits_before_all_others(scene):
    one = scene({"max_streams": 1}, most=1)
    held = one.lease()
    (other,) = one.leases(1)
    repeated = gevent.spawn(one.lease, tries=2)
    gevent.sleep(0)
    held.close()
    repeated.get(timeout=1).close()
    other.get(timeout=1).close()


def exclude_all_but_one(one):
    """Let the backend end the first connection after one of two requests: the next connections begin slowly."""
    first, second = (one.lease() for _ in range(2))
    for leased in (first, second):
        leased._connection.open("GET", "a", "/", Headers(), NO_BODY)
    one.peers[0].session.go_away(1, NO_ERROR)
    one.peers[0].flush()
    turn_until(lambda: first._connection.is_retired)
    first.close()
    second.close()


@pytest.mark.parametrize("between", ["nothing", "a probe"])
def test_the_connection_after_a_short_lived_one_begins_slowly(scene, between):
    one = scene(most=1)
    exclude_all_but_one(one)
    if between == "a probe":
        one.pool.dial(1.0, NAME, None).close()
    held = one.lease()
    (waiting,) = one.leases(1)
    turn_until(lambda: one.dials == 2 + (between == "a probe"))
    assert not waiting.ready()
    one.clock.now += 1.0
    one.pool.trim(55.0)
    waiting.get(timeout=1).close()
    held.close()


@pytest.mark.parametrize("when", ["waiting", "served"])
def test_a_request_that_gives_up_takes_nothing_with_it(scene, when):
    one = scene({"max_streams": 1}, most=1)
    held = one.lease()
    waiting, last = one.leases(2)
    if when == "served":
        waiting.kill(block=False)
        held.close()  # the waiting request gets it in the turn of the loop in which it ends
    else:
        waiting.kill()
        held.close()
    last.get(timeout=1).close()
    turn_until(waiting.ready)
    assert len(one.pool) == 1


class Client:
    """A client stream that has one observer, and leaves on request."""

    observer = None

    def in_own_greenlet(self):
        return True

    def can_detect_close(self):
        return True

    def is_gone(self):
        return True

    def watch(self, observer):
        before, self.observer = self.observer, observer
        return before


def test_a_client_that_leaves_ends_the_wait(scene):
    one, client = scene({"max_streams": 1}, most=1), Client()
    held = one.lease()
    waiting = gevent.spawn(one.lease, None, client)
    last = gevent.spawn(one.lease)
    turn_until(lambda: client.observer is not None)
    client.observer.switch(client)
    with pytest.raises(ClientGone):
        waiting.get(timeout=1)
    held.close()
    last.get(timeout=1).close()


def test_a_failure_to_connect_is_that_of_all_that_wait(scene):
    one = scene(ConnectionRefusedError("no"))
    waiting = one.leases(3)
    gevent.joinall(waiting, timeout=1)
    assert [type(greenlet.exception) for greenlet in waiting] == [ConnectionRefusedError] * 3
    assert one.dials == 1
    one.lease().close()


def test_while_a_connection_works_a_failure_to_open_another_one_makes_requests_wait(scene, clock):
    one = scene({"max_streams": 1}, ConnectionRefusedError("no"))
    held = one.lease()
    waiting = gevent.spawn(one.lease)
    turn_until(lambda: one.dials == 2)
    gevent.sleep(0.01)
    assert not waiting.ready()
    held.close()
    waiting.get(timeout=1).close()
    assert one.dials == 2


@pytest.mark.parametrize(
    ("outcome", "error"),
    [({"protocol": "http/1.1"}, TLSError), ({"is_silent": True}, ConnectTimeoutError)],
)
def test_connections_of_another_kind_fail(scene, outcome, error):
    one = scene(outcome, url="https://10.0.0.1")
    with pytest.raises(error):
        one.lease()
    turn_until(one.peers[0].ended)


def test_a_backend_that_speaks_something_else(scene):
    one = scene({"is_silent": True})
    waiting = gevent.spawn(one.lease)
    turn_until(lambda: one.peers)
    one.peers[0].sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(NotHTTP2Error, match="violated HTTP/2"):
        waiting.get(timeout=1)


def test_a_backend_that_says_goaway_at_once_refuses(scene):
    one = scene({"is_silent": True})
    waiting = gevent.spawn(one.lease)
    turn_until(lambda: one.peers)
    one.peers[0].session.start()
    one.peers[0].session.go_away(0, NO_ERROR)
    one.peers[0].flush()
    with pytest.raises(RefusedStreamError, match="new connection"):
        waiting.get(timeout=1)


def test_a_lost_connection_is_replaced(scene):
    one = scene()
    one.lease().close()
    one.peers[0].sock.close()
    turn_until(lambda: len(one.pool) == 0)
    one.lease().close()
    assert one.dials == 2


def test_requests_wait_for_the_answer_after_a_long_silence(scene, clock):
    one = scene()
    one.lease().close()
    clock.now += 40
    waiting = gevent.spawn(one.lease)
    gevent.sleep(0)
    assert not waiting.ready()
    turn_until(lambda: one.peers[0].look() or waiting.ready())
    waiting.get().close()
    assert one.dials == 1


def test_a_backend_that_does_not_answer_is_asked_on_a_new_connection(scene, clock):
    one = scene()
    one.lease().close()
    clock.now += 40
    waiting = gevent.spawn(one.lease)
    gevent.sleep(0)
    clock.now += 6
    one.pool.trim(90.0)
    waiting.get(timeout=1).close()
    assert one.dials == 2


def test_trim_closes_idle_connections(scene, clock):
    one = scene()
    one.lease().close()
    clock.now += 20
    one.pool.trim(90.0)
    assert len(one.pool) == 1
    clock.now += 80
    one.pool.trim(90.0)
    assert len(one.pool) == 0
    turn_until(one.peers[0].ended)


def test_a_retired_pool_closes_its_connections_with_their_last_request(scene):
    one = scene()
    held = one.lease()
    one.pool.retire()
    held.close()
    turn_until(one.peers[0].ended)
    late = one.lease()  # a request that had picked the backend before
    late.close()
    turn_until(one.peers[1].ended)


def test_close_ends_all(scene):
    one = scene()
    held = one.lease()
    sending = gevent.spawn(held.send_request, Writer(), request(), "a")
    one.peers[0].event(HeadReceived)
    one.pool.close()
    with pytest.raises(Exception, match="was closed"):
        sending.get(timeout=1)
    held.close()


def test_the_time_to_connect_is_measured(scene):
    seen = []
    one = scene()
    one.pool.observe_connect = seen.append
    for greenlet in one.leases(3):
        greenlet.get(timeout=1)
    assert seen == [0.0]


TLS = {"url": "https://10.0.0.1", "fallback": {}}


def test_a_backend_that_chooses_http1_gets_connections_of_http1(scene):
    one = scene({"protocol": "http/1.1"}, {"protocol": "http/1.1"}, **TLS)
    waiting = one.leases(3)
    assert [greenlet.get(timeout=1) for greenlet in waiting] == [None] * 3
    assert one.dials == 1
    assert repr(one.pool.dial(1.0, NAME, None)) == OLD  # the connection that is there
    assert one.dials == 1
    assert one.lease() is None
    one.pool.dial(1.0, NAME, None)
    assert one.dials == 2


@pytest.mark.parametrize("end", ["trim", "close"])
def test_a_connection_of_http1_that_no_request_has_taken_is_closed(scene, end):
    one = scene({"protocol": "http/1.1"}, {"protocol": "http/1.1"}, **TLS)
    assert one.lease() is None
    one.pool.trim(60.0) if end == "trim" else one.pool.close()
    assert one.peers[0].ended()
    one.pool.dial(1.0, NAME, None)
    assert one.dials == 2


def test_a_backend_that_chooses_http2_later(scene):
    one = scene({"protocol": "http/1.1"}, {}, **TLS)
    assert one.lease() is None
    one.pool.dial(1.0, NAME, None)
    stream = one.pool.dial(1.0, NAME, None)
    assert repr(stream) == "<BackendStream 10.0.0.1:80 unused, upload NONE>"
    one.lease().close()
    stream.close()
    assert (one.dials, len(one.pool)) == (2, 1)


def test_an_upgrade_that_http2_does_not_carry(scene, pair):
    one = scene({"enable_connect": False}, **TLS)
    dialled = []

    def dial(timeout, name, observe):
        sock, _ = pair("http/1.1")
        dialled.append(timeout)
        return HTTP1Connection(sock, sock.channel(), name, observe)

    one.pool._fallback.dial = dial
    assert repr(one.lease("websocket")) == OLD
    assert dialled == [0.2]
    assert len(one.pool) == 1  # its lease was given back
    required = scene({"enable_connect": False})
    with pytest.raises(NoUpgradeError):
        required.lease("websocket")
    accepting = scene({"enable_connect": True})
    accepting.lease("websocket").close()
    with pytest.raises(NoUpgradeError):
        accepting.lease("tcp")


def test_a_probe_has_a_connection_of_its_own(scene):
    one = scene({"max_streams": 1})
    held = one.lease()
    probe = one.pool.dial(1.0, NAME, None)
    assert (one.dials, len(one.pool)) == (2, 0)
    probe.close()
    turn_until(one.peers[1].ended)
    held.close()
    assert len(one.pool) == 1


def test_a_probe_that_gives_up_before_the_limits_of_the_backend_leaves_nothing(scene):
    one = scene({"is_silent": True})
    with gevent.Timeout(0.01, False):
        one.pool.dial(1.0, NAME, None)
    turn_until(one.peers[0].ended)
    assert not [left for left in gc.get_objects() if isinstance(left, HTTP2Connection) and not left.is_closed]


def test_a_further_connection_resumes_the_tls_session_of_one_that_is_open(tmp_path, monkeypatch):
    """Whatever this Python leaks, over real sockets."""
    monkeypatch.setattr(tls_session, "CAN_RESUME", True)
    authority = Authority(tmp_path)
    offered, wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls_session.new_context(tls_session.OFFERS["yes"])
    offered.load_cert_chain(*authority.issue("localhost"))
    offered.set_alpn_protocols(["h2"])
    wanted.load_verify_locations(authority.path)
    with HTTP2Backend(streams=1, context=offered) as backend:
        url = BackendURL.parse(backend.url.replace("127.0.0.1", "localhost"))
        pool = HTTP2Pool(url, keepalive=2, connect_timeout=5.0, addresses=["127.0.0.1"], tls={"ssl_context": wanted})
        leased = [pool.lease(NAME, None, request()) for _ in range(3)]
        assert [link.sock.session_reused for link in backend.links] == [False, True, True]
        for one in leased:
            one.close()
        pool.close()
