"""What clients that stall make a worker keep over HTTP/2: it is bounded, and harms no other request."""

import select
import threading

import psutil
import pytest

from gproxy.http.headers import Headers
from gproxy.testing.backends import switching
from gproxy.testing.gateway import eventually

pytestmark = pytest.mark.usefixtures("h2c")
BACKENDS = "one"
WINDOW = 65_536
CONNECTION = 1 << 20
BUFFERS = 3_000_000
INI = f"""
[server]
buffers = {BUFFERS}B
[gateway]
handlers = health, metrics
timeout = 30s
[handler:health]
cache = 0s
[handler:metrics]
[handler:stalls]
use = handlers:stalls
[handler:takes]
use = handlers:takes
[handler:left]
use = handlers:left
[route:stalls]
path = /stalls
handlers = stalls
respond = 200
[route:left]
path = /left
handlers = left
respond = 200
[route:takes]
path = /
handlers = takes
respond = 200
[route:big]
path = /big
upstream = one
[upstream:one]
backends = {{one}}
max_fails = 0
"""
HANDLERS = """
import gc
from collections import defaultdict

from gevent.event import Event

from gproxy.http.response import Response

go = defaultdict(Event)


def stalls(request, next):
    go[request.path].wait()
    return Response(200, b"%d" % len(request.body.read()))


def left(request, next):
    kinds = [type(one).__name__ for one in gc.get_objects()]
    return Response(200, b"%d" % sum(map(kinds.count, ("HTTP2ClientConnection", "HTTP2Transport", "ReplayBuffer"))))


def takes(request, next):
    if request.path.startswith("/go/"):
        go["/stalls/" + request.path[4:]].set()
    return Response(200, b"%d" % sum(len(piece) for piece in request.body))
"""
BIG = 8_000_000


def kept(play):
    return play.gateway.metric("gproxy_buffer_bytes")


def press(client, stream, size=WINDOW):
    """Send content until so much is sent, or the gateway gives no window for a while; return the size."""
    sent = 0
    while sent < size:
        room = min(client.session.sendable(stream), size - sent)
        if room:
            client.session.send_data(stream, bytes(room), end=False)
            client.send()
            sent += room
        elif select.select([client._sock], [], [], 0.2)[0]:
            client.read()
        else:
            break
    return sent


def stall(client, name, count):
    """Begin uploads that the handler does not read, as far as the windows allow; return them."""
    streams = [client.request(f"/stalls/{name}", method="POST", end=False) for _ in range(count)]
    for stream in streams:
        if press(client, stream) < WINDOW:
            break
    return streams


def finish(client, streams):
    """End uploads that are read now; return their statuses and what the handler has read of each."""
    for stream in streams:
        client.upload(stream, b"", end=True)
    return [client.response(stream) for stream in streams]


def test_uploads_that_nobody_reads_do_not_delay_others_on_their_connection(connect, play, stopwatch):
    client = connect()
    with stopwatch:
        streams = stall(client, "one", 32)
        upload = client.request("/", method="POST", end=False)
        client.upload(upload, bytes(3_000_000), end=True)
        assert client.response(upload) == (200, b"3000000")
    assert stopwatch.seconds < 3
    assert kept(play) == 32 * WINDOW
    client.response(client.request("/go/one"))
    assert finish(client, streams) == [(200, b"%d" % WINDOW)] * 32
    assert kept(play) == 0


def test_stalled_uploads_of_many_connections_are_bounded(connect, play):
    worker = psutil.Process(play.gateway.workers[0])
    before = worker.memory_info().rss
    clients = [connect() for _ in range(10)]
    streams = [stall(client, "many", 100) for client in clients]
    bound = BUFFERS + 10 * CONNECTION
    assert BUFFERS < kept(play) <= bound
    assert worker.memory_info().rss - before < 3 * bound
    client = connect()
    assert client.response(client.request("/", method="POST", body=bytes(500_000))) == (200, b"500000")
    client.response(client.request("/go/many"))
    for client, uploads in zip(clients, streams, strict=True):
        assert {status for status, _ in finish(client, uploads)} == {200}
        assert client.session._windows.send_window <= CONNECTION  # no byte of a window came back twice
    eventually(lambda: kept(play) == 0, "the end of the uploads")


def test_a_window_that_is_withheld_comes_back_when_others_have_let_go(connect, play):
    """Nothing is read of this connection, and its client has nothing to say."""
    other, client = connect(), connect()
    streams = stall(other, "first", 40)
    waiting = stall(client, "second", 40)
    upload = client.request("/", method="POST", end=False)
    assert press(client, upload, 3_000_000) < 3_000_000
    other.response(other.request("/go/first"))
    finish(other, streams)
    client.upload(upload, bytes(3_000_000), end=True)
    assert client.response(upload)[0] == 200
    client.response(client.request("/go/second"))
    assert {status for status, _ in finish(client, waiting)} == {200}


def endless(peer, request):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
    for _ in range(BIG // 8000):
        peer.send(bytes(8000))


def test_responses_for_slow_readers_are_bounded(connect, play):
    play.one.act = endless
    clients = [connect() for _ in range(2)]
    for client in clients:
        for _ in range(60):
            client.request("/big")
    eventually(lambda: len(play.one.requests) == 120, "all requests at the backend")
    eventually(lambda: kept(play) > BUFFERS, "bytes for slow readers")
    for _ in range(20):
        assert kept(play) <= BUFFERS + 120 * 16_000 + 300_000
    quick = connect(window=1 << 20, connection_window=1 << 20)
    status, content = quick.response(quick.request("/big"))
    assert (status, len(content)) == (200, BIG)


def test_websockets_of_slow_readers_are_bounded(connect, play):
    go = threading.Event()

    def flood(peer, request):
        peer.send(switching(request))
        go.wait(10)
        peer.send(bytes(BIG))

    play.one.act = flood
    client, other = connect(), connect()
    fields = Headers([("sec-websocket-version", "13")])
    tunnels = [
        client.session.request("CONNECT", "http", "a", "/big/ws", fields, end=False, protocol="websocket")
        for _ in range(60)
    ]
    client.send()
    assert {client.head(tunnel).status for tunnel in tunnels} == {200}
    stall(other, "beside", 60)
    before = 60 * WINDOW
    eventually(lambda: kept(play) == before, "more than there is room for")
    go.set()
    eventually(lambda: kept(play) > before + 60 * 10_000, "bytes for slow readers")
    for _ in range(20):
        assert kept(play) <= before + 60 * 16_000
    other.response(other.request("/go/beside"))


def test_what_has_ended_waits_for_no_collector_of_cycles(play, connect):
    """The collector of a worker comes after 20,000 objects: some hundred connections, with all that they keep."""
    for number in range(20):
        with connect() as client:
            stream = client.request("/", method="POST", body=b"ab", end=number % 2 == 0)
            if number % 2:
                client.reset(stream)
            else:
                client.response(stream)
            streamed = client.request("/big", method="PUT", end=False)
            client.upload(streamed, bytes(1000), end=True)
            client.head(streamed)
    eventually(lambda: play.gateway.get("/left").body == b"0", "an end of all connections")
