"""Upstreams of HTTP/2 backends: balancing, limits, probes, hedges, retries and metrics notice no difference."""

import threading
from contextlib import ExitStack

import pytest
from http2_backend import HTTP2Backend, hello
from scenes import Scene

from gproxy.testing.gateway import RunningGateway, eventually

REFUSED_STREAM, CANCEL = 7, 8
INI = """
[gateway]
handlers = health, metrics
timeout = 3s
[handler:health]
cache = 0s
[handler:metrics]
[route:hedged]
path = /hedged
upstream = hedged
[route:full]
path = /full
upstream = full
[route:probed]
path = /probed
upstream = probed
[route:timed]
path = /timed
upstream = timed
[route:mirrored]
path = /mirrored
upstream = plain
mirror = second
[route:slow]
path = /slow
upstream = plain
buffer_response = 0
[route:uploads]
path = /uploads
upstream = uploads
[upstream:plain]
backends = {first}
http2 = yes
retry_header = X-Retry-Count
deadline_header = X-Left
idle_timeout = 1s
[upstream:second]
backends = {second}
http2 = yes
[upstream:hedged]
backends = {first}, {second}
http2 = yes
balance = first
hedge = 100ms
max_fails = 0
[upstream:full]
backends = {first} max_connections=2, {second}
http2 = yes
balance = first
[upstream:probed]
backends = {probed}
http2 = yes
health_path = /up
health_interval = 100ms
health_timeout = 1s
[upstream:timed]
backends = {first}, {second}
http2 = yes
balance = first
per_try_timeout = 800ms
retry_on = connect, stale, reset, timeout
max_fails = 0
[upstream:uploads]
backends = {first}
http2 = yes
buffer_request = 0
max_fails = 0
[route:refusing]
path = /refusing
upstream = refusing
[upstream:refusing]
backends = {first}, {second}
http2 = yes
[route:leaving]
path = /leaving
upstream = leaving
[upstream:leaving]
backends = {first}, {second}
http2 = yes
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with ExitStack() as stack:
        backends = {name: stack.enter_context(HTTP2Backend()) for name in ("first", "second", "probed")}
        ini = INI
        for name, backend in backends.items():
            ini = ini.replace("{%s}" % name, backend.url)
        gateway = stack.enter_context(RunningGateway(ini, tmp_path_factory.mktemp("http2"), environ={}))
        yield Scene(gateway, backends)


@pytest.fixture
def play(stage):
    for backend in stage.backends.values():
        backend.act = hello
        backend.requests.clear()
        backend.errors.clear()
    yield stage
    stage.gateway.wait_until_idle()
    assert stage.gateway.process.poll() is None
    assert [error for backend in stage.backends.values() for error in backend.errors] == []


def test_a_hedge_cancels_the_slow_stream(play):
    play.first.act = lambda _: None
    play.second.act = lambda exchange: exchange.answer(b"second")
    assert play.gateway.get("/hedged").body == b"second"
    eventually(lambda: play.first.requests[0].reset_code == CANCEL, "cancel")
    line = play.gateway.line("/hedged")
    assert (line["tries"], line["backend"]) == ("2", f"127.0.0.1:{play.second.port}")


def test_max_connections_counts_requests_under_way(play):
    go_on = threading.Event()

    def act(exchange):
        go_on.wait(5)
        exchange.answer(b"first")

    play.first.act = act
    play.second.act = lambda exchange: exchange.answer(b"second")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(play.gateway.get("/full").body)) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(play.first.requests) == 2, "two requests")
    assert play.gateway.get("/full").body == b"second"
    go_on.set()
    for thread in threads:
        thread.join()
    assert answers == [b"first", b"first"]


def test_probes_have_connections_of_their_own(play):
    def state():
        return play.gateway.health()["upstreams"]["probed"][0]["state"]

    eventually(lambda: play.probed.requests and state() == "healthy", "a probe")
    assert play.probed.requests[0].path == "/up"
    assert play.probed.requests[0].headers["user-agent"] == "gproxy-health"
    assert "connection" not in play.probed.requests[0].headers
    links = len(play.probed.links)
    eventually(lambda: len(play.probed.links) > links + 1, "further probes")
    play.probed.act = lambda exchange: exchange.answer(b"no", 503)
    eventually(lambda: state() == "unhealthy", "a failed probe")
    play.probed.act = hello
    eventually(lambda: state() == "healthy", "recovery")


def test_a_slow_attempt_is_cancelled_and_repeated(play):
    play.first.act = lambda _: None
    play.second.act = lambda exchange: exchange.answer(b"second")
    assert play.gateway.get("/timed").body == b"second"
    eventually(lambda: play.first.requests[0].reset_code == CANCEL, "cancel")


def test_a_mirror_gets_a_copy(play):
    assert play.gateway.get("/mirrored/1").body == b"hello"
    eventually(lambda: [one.path for one in play.second.requests] == ["/mirrored/1"], "the copy")


def test_the_added_fields_of_an_attempt(play):
    play.gateway.get("/mirrored/2")
    fields = play.first.requests[0].headers
    assert fields["x-retry-count"] == "0"
    assert 2000 < int(fields["x-left"]) <= 3000


def test_an_idle_connection_closes(play):
    play.gateway.get("/mirrored/3")
    link = play.first.requests[0].link
    eventually(lambda: link.h2.state_machine.state.name == "CLOSED", "GOAWAY")
    assert play.gateway.get("/mirrored/4").body == b"hello"


def test_a_refused_upload_is_repeated_from_its_beginning(play):
    def act(exchange):
        if len(play.first.requests) == 1:
            exchange.piece()
            exchange.reset(7)
        else:
            exchange.answer(exchange.whole())

    play.first.act = act
    with play.gateway.connect() as wire:
        wire.send("POST /uploads HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        eventually(lambda: len(play.first.requests) == 2, "the second attempt")
        wire.send("3\r\nend\r\n0\r\n\r\n")
        assert wire.read_response().body == b"beginend"


@pytest.mark.parametrize(
    ("name", "refuse"), [("refusing", lambda one: one.reset(REFUSED_STREAM)), ("leaving", lambda one: one.go_away(0))]
)
def test_a_backend_that_refuses_everything_fails_no_request_and_is_ejected(play, name, refuse):
    play.first.act = refuse
    assert {play.gateway.get(f"/{name}", method="POST").status for _ in range(20)} == {200}
    states = [one["state"] for one in play.gateway.health()["upstreams"][name]]
    assert states == ["unhealthy", "healthy"]
    assert len(play.first.requests) == 3


def test_what_a_slow_client_leaves_unread_is_counted(play):
    def kept():
        return play.gateway.metric("gproxy_buffer_bytes")

    play.first.act = lambda exchange: exchange.answer(bytes(20_000_000))
    with play.gateway.connect() as wire:
        wire.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        eventually(lambda: kept() > 128 * 1024, "what has come")  # less than half a window was not given back
    eventually(lambda: kept() == 0, "the end of the request")


def test_connects_and_connections_are_counted(play):
    play.gateway.get("/mirrored/5")
    eventually(lambda: play.second.requests, "the copy")
    play.gateway.wait_until_idle()
    assert play.gateway.metric('gproxy_connect_duration_seconds_count{upstream="plain"}') >= 1
    idle = 'gproxy_pool_connections{state="idle",upstream="second"}'
    eventually(lambda: play.gateway.metric(idle) >= 1, "an idle connection")
    assert play.gateway.metric('gproxy_pool_connections{state="active",upstream="second"}') == 0
