"""The steps of Forward, with backends that follow scripts."""

import math

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.config.types.matchers import Statuses
from gproxy.http.body import Body
from gproxy.http.deadline import Deadline
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.framing import reader
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.testing.scripted_channel import END, RESET, After
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.forwarder.forward import Forward
from gproxy.upstream.forwarder.request_head import RequestHeadWriter
from gproxy.upstream.forwarder.response_body import BackendBody
from gproxy.upstream.forwarder.tunnel import Tunnel
from gproxy.upstream.upstream import Upstream
from unit.upstream.backends import pool_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun"


class NoJitter:
    """A random whose draws are 0."""

    def random(self):
        return 0.0


class Scene:
    """An upstream that is never opened, and a Forward to it; each backend has an endpoint."""

    def __init__(self, endpoints, retries=None, retry_on=None, **options):
        urls = tuple(BackendURL("http", f"192.0.2.{number}", 80) for number in range(1, len(endpoints) + 1))
        settings = construct(UpstreamSettings, name="u", backends=urls, **options)
        self.upstream = Upstream(settings, RoundRobin(), Runtime(rng=NoJitter()))
        self.endpoints = endpoints
        for backend, endpoint in zip(self.upstream.backends, endpoints, strict=True):
            pool_of(backend).conn_kw["endpoint"] = endpoint
        self.forward = Forward(
            self.upstream, head=RequestHeadWriter(host="client"), piece_limit=TimeLimit.READ.of(3.0, "r"),
            tunnel_limit=TimeLimit.TUNNEL.of(30.0, "t"), retries=retries, retry_on=retry_on, hedge=None,
        )  # fmt: skip

    def ask(self, asked=None):
        self.request = asked or request()
        if self.request.deadline.expires == math.inf:
            self.request.deadline.expires = self.request.deadline.clock() + 60
        return self.forward(self.request)

    def reject(self, asked=None):
        with pytest.raises(HTTPError) as raised:
            self.ask(asked)
        return raised.value.status, raised.value.reason

    @property
    def active(self):
        return [backend.active for backend in self.upstream.backends]

    @property
    def failures(self):
        return [backend.failures for backend in self.upstream.backends]

    def close(self):
        for backend in self.upstream.backends:
            backend.retire()


@pytest.fixture
def scene(scripted_endpoint):
    """Make scenes; each backend has a list of what its connections bring: a script, its only step, or an exception."""
    made = []

    def make(*backends, **options):
        endpoints = [
            scripted_endpoint(*(one if isinstance(one, BaseException | list) else [one] for one in outcomes))
            for outcomes in backends
        ]
        made.append(Scene(endpoints, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_response_that_came_whole_releases_its_connection(scene):
    some = scene([OK])
    response = some.ask()
    assert (response.status, bytes(response.body)) == (200, b"ok")
    assert some.active == [0]
    assert len(some.upstream.backends[0]._idle._connections) == 1
    assert (some.request.upstream, some.request.backend, some.request.tries) == ("u", "192.0.2.1:80", 1)
    (peer,) = some.endpoints[0].peers
    assert peer.sent.startswith(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n")


def test_a_longer_body_holds_its_connection_until_the_response_is_closed(scene):
    some = scene([LONG])
    response = some.ask()
    assert isinstance(response.body, BackendBody)
    assert next(iter(response.body)) == b"begun"
    assert some.active == [1]
    response.close()
    assert some.active == [0]
    assert some.upstream.backends[0]._idle.take() is None  # it was not read to its end


def test_the_end_of_the_request_closes_a_dropped_response(scene):
    some = scene([LONG])
    some.ask()
    some.request.end()
    assert some.active == [0]


class RecordingTimer:
    """Keeps the limits that were set."""

    def __init__(self):
        self.limits = []

    def set(self, expires, limit):
        self.limits.append(limit)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (b"text/plain", TimeLimit.READ),
        (b"text/event-stream", TimeLimit.TUNNEL),
        (b"Text/Event-Stream; charset=utf-8", TimeLimit.TUNNEL),
        (b"multipart/x-mixed-replace;boundary=a", TimeLimit.TUNNEL),
        (b"multipart/mixed", TimeLimit.READ),
    ],
)
def test_a_piece_has_the_limit_of_its_kind(scene, kind, limit):
    some, asked, timer = (
        scene([[LONG.replace(b"\r\n\r\n", b"\r\nContent-Type: " + kind + b"\r\n\r\n"), b"over"]]),
        request(),
        RecordingTimer(),
    )
    asked.deadline = Deadline(timer)
    response = some.ask(asked)
    asked.deadline.begin_body(is_event_stream=False)
    timer.limits.clear()
    assert list(response.body) == [b"begun", b"over"]
    assert timer.limits[0] == limit
    some.request.end()


def test_a_refused_connection_leads_to_another_backend(scene):
    some = scene([ConnectionRefusedError()], [OK], retries=1)
    assert some.ask().status == 200
    assert (some.request.tries, some.request.backend) == (2, "192.0.2.2:80")
    assert (some.failures, some.active) == ([1, 0], [0, 0])


def test_without_retries_the_failure_is_the_answer(scene):
    some = scene([ConnectionRefusedError()], [OK], retries=0)
    assert some.reject() == (502, "connect_refused")
    assert (some.request.tries, some.active) == (1, [0, 0])


def test_the_last_failure_is_the_answer(scene):
    some = scene([ConnectionRefusedError()], [TimeoutError()], retries=1)
    assert some.reject() == (504, "connect_timeout")
    assert some.request.tries == 2


def test_a_single_backend_that_refuses_is_not_asked_again(scene):
    some = scene([ConnectionRefusedError(), OK], retries=1)
    assert some.reject() == (502, "connect_refused")


@pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("POST", 502)])
def test_an_unanswered_request_is_repeated_if_its_method_allows_it(scene, method, expected):
    some = scene([END], [OK], retries=1, retry_on=("reset",))
    if expected == 200:
        assert some.ask(request(method)).status == 200
        assert some.request.tries == 2
    else:
        assert some.reject(request(method)) == (502, "backend_reset")
        assert some.request.tries == 1
    assert some.failures[0] == 1


def test_a_stale_connection_is_replaced_and_ejects_nothing(scene):
    some = scene([OK, OK], retries=1, max_fails=1)
    some.ask()
    (peer,) = some.endpoints[0].peers
    peer.add(END)  # not seen before the request leaves
    assert some.ask().status == 200
    assert some.request.tries == 2
    assert some.upstream.snapshot()[0]["state"] == "healthy"


def test_a_retryable_status_leads_to_another_backend(scene):
    some = scene([BUSY], [OK], retries=1, retry_on=(Statuses(503, 503),))
    assert some.ask().status == 200
    assert (some.request.tries, some.active) == (2, [0, 0])


def test_the_last_retryable_status_is_the_answer_as_it_came(scene):
    some = scene([BUSY], [BUSY], retries=1, retry_on=(Statuses(503, 503),))
    response = some.ask()
    assert (response.status, bytes(response.body), response.phrase) == (503, b"busy", "Busy")
    assert some.request.tries == 2


def test_a_malformed_answer_is_not_retried(scene):
    some = scene([b"nonsense\r\n\r\n"], [OK], retries=1)
    assert some.reject() == (502, "backend_protocol")
    assert (some.request.tries, some.active) == (1, [0, 0])


def test_no_backend_is_a_503(scene):
    some = scene([OK])
    some.upstream.backends[0].is_down = True
    some.upstream.rotation.refresh()
    assert some.reject() == (503, "none_available")
    assert some.request.tries == 0


def test_a_deadline_that_is_over_is_a_504_without_an_attempt(scene):
    some, asked = scene([OK]), request()
    asked.deadline.expires = asked.deadline.clock() - 1
    assert some.reject(asked) == (504, "backend_timeout")
    assert some.request.tries == 0


def test_what_no_backend_is_to_blame_for_passes_and_drops_the_connection(scene):
    some = scene([Expired(TimeLimit.DRAINING)], [OK], retries=1)
    with pytest.raises(Expired):
        some.ask()
    assert (some.active, some.failures) == ([0, 0], [0, 0])


def test_the_reason_of_an_earlier_call_is_forgotten(scene):
    asked = request()
    asked.reason = "backend_reset"
    some = scene([OK])
    some.ask(asked)
    assert asked.reason == ""


def test_a_body_in_memory_is_sent_again(scene):
    asked = request("PUT", body=b"upload")
    some = scene([END], [OK], retries=1, retry_on=("reset",))
    assert some.ask(asked).status == 200
    sent = [peer.sent.partition(b"\r\n\r\n")[2] for endpoint in some.endpoints for peer in endpoint.peers]
    assert sent == [b"upload", b"upload"]


def test_a_body_that_was_read_and_not_kept_cannot_be_sent(scene):
    class Wire:
        buffer = b""

        def read(self, limit):
            return b"half"

    asked = request("PUT")
    asked.body = Body(b"", reader(8, Wire()), 8)
    asked.body.next_piece()
    with pytest.raises(RuntimeError, match="already read"):
        scene([OK]).ask(asked)


@pytest.mark.parametrize(
    ("method", "status", "body"),
    [("OPTIONS", 204, b""), ("TRACE", 200, b"TRACE /x HTTP/1.1\r\nMax-Forwards: 0\r\nHost: gateway.test\r\n\r\n")],
)
def test_max_forwards_0_is_answered_here(scene, method, status, body):
    some = scene([OK])
    asked = request(method, "/x", {"Max-Forwards": "0", "Authorization": "secret", "X-API-Key": "secret"})
    asked.headers["X-Set"] = "by a handler"
    response = some.ask(asked)
    assert (response.status, bytes(response.body)) == (status, body)
    assert some.request.tries == 0


def test_max_forwards_is_counted_down(scene):
    some = scene([OK])
    some.ask(request("OPTIONS", headers={"Max-Forwards": "3"}))
    assert b"\r\nMax-Forwards: 2\r\n" in some.endpoints[0].peers[0].sent


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"


class Client:
    """A client stream whose greenlet is, or is not, the one that asks."""

    is_closed = False

    def __init__(self, *, is_own=True):
        self._is_own = is_own

    def in_own_greenlet(self):
        return self._is_own


def test_an_upgrade_becomes_a_tunnel(scene):
    some, asked = scene([SWITCHED]), request()
    asked.upgrade, asked.client_stream = "websocket", Client()
    response = some.ask(asked)
    assert response.status == 101
    assert isinstance(response.body, Tunnel)
    assert some.active == [1]
    asked.end()
    assert some.active == [0]


@pytest.mark.parametrize("upgrade", [None, "h2c"])
def test_a_switch_that_was_not_asked_for_is_a_502(scene, upgrade):
    some, asked = scene([SWITCHED]), request()
    asked.upgrade = upgrade
    assert some.reject(asked) == (502, "backend_protocol")
    assert some.active == [0]


def test_a_request_from_another_greenlet_is_read_whole(scene):
    some, asked = scene([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]), request()
    asked.client_stream = Client(is_own=False)
    response = some.ask(asked)
    assert (response.status, bytes(response.body)) == (200, b"ok")
    assert (asked.upstream, asked.backend, asked.tries) == ("u", "192.0.2.1:80", 1)
    assert some.active == [0]


def test_a_connection_in_the_wrong_state_is_an_error_and_no_failure_of_the_backend(scene):
    some = scene([OK])
    some.ask()
    (backend,) = some.upstream.backends
    connection = backend.connection(some.request)
    backend.drop(connection)
    pool_of(backend).pool.put(connection)
    with pytest.raises(RuntimeError, match=r"send_request .* <HTTP1Connection 192.0.2.1:80 CLOSED, 1 request>"):
        some.ask()
    assert (some.active, some.failures) == ([0], [0])


def uploading(client):
    """A request of this client, with a body of five bytes."""
    asked = request("POST")
    asked.client_stream = client.client
    asked.client_stream.deadline = asked.deadline
    asked.body = Body(reader=reader(5, client.client), length=5)
    return asked


def test_an_upload_goes_on_beside_its_response(scene, scripted):
    some, client = scene([[After(b"he"), LONG, After(b"hello"), b"over"]]), scripted(b"he", After(b"go"), b"llo")
    response = some.ask(uploading(client))
    client.client.send(b"go")
    assert b"".join(response.body) == b"begunover"
    response.close()
    (backend,) = some.upstream.backends
    connection = backend.connection(some.request)
    assert repr(connection) == "<HTTP1Connection 192.0.2.1:80 IDLE, 1 request>"
    backend.drop(connection)


def test_an_error_response_ends_the_upload_and_the_connection(scene, scripted):
    some, client = scene([[After(b"he"), BUSY.replace(b"busy", b"bu"), b"sy"]]), scripted(b"he", After(b"go"), b"llo")
    response = some.ask(uploading(client))
    client.client.send(b"go")
    assert b"".join(response.body) == b"busy"
    assert client.remaining == [b"llo"]
    response.close()
    (peer,) = some.endpoints[0].peers
    assert (some.active, peer.actions) == ([0], ["close"])
    assert peer.sent.endswith(b"\r\n\r\nhe")


@pytest.mark.parametrize("ending", [END, RESET])
def test_a_client_that_leaves_during_the_upload_is_no_failure_of_the_backend(scene, scripted, ending):
    some, client = scene([[]]), scripted(b"he", ending)
    with pytest.raises((HTTPError, ClientGone)):
        some.ask(uploading(client))
    (peer,) = some.endpoints[0].peers
    assert (some.active, some.failures, peer.actions) == ([0], [0], ["close"])
