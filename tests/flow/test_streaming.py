"""Bytes move as they come, both ways, at flat memory; whoever leaves is noticed on the other side."""

import contextlib
import itertools
import socket
import threading
import zlib

import psutil
import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one"
INI = """
[server]
body_timeout = 20s
write_timeout = 20s
[gateway]
handlers = compress, health
timeout = 20s
[handler:compress]
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
[upstream:one]
backends = {one}
max_fails = 0
buffer_request = 0
"""
GIB = 1 << 30


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_chunk(wire):
    """One chunk as it came."""
    size = int(wire.read_until(b"\r\n"), 16)
    return wire.read_exactly(size + 2)[:-2]


def in_lockstep(head, frame, events):
    """An act that sends the next event only when the client has read the one before."""
    steps = [threading.Event() for _ in events]

    def act(peer, request):
        peer.send(head)
        for event, step in zip(events, steps, strict=True):
            peer.send(frame(event))
            assert step.wait(10)
        if frame is chunk:
            peer.send("0\r\n\r\n")
        else:
            peer.close()

    return act, steps


EVENTS = [b"data: %d\n\n" % n for n in range(10)]


@pytest.mark.parametrize("framing", ["chunked", "until-close", "length"])
def test_each_event_arrives_before_the_next_is_sent(play, framing):
    line = {
        "chunked": "Transfer-Encoding: chunked\r\n",
        "until-close": "",
        "length": f"Content-Length: {sum(map(len, EVENTS))}\r\n",
    }[framing]
    act, steps = in_lockstep(
        f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{line}\r\n",
        chunk if framing == "chunked" else bytes,
        EVENTS,
    )
    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send(f"GET /events/{framing} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        head = wire.read_until(b"\r\n\r\n")
        assert b"content-encoding" not in head.lower()
        for event, step in zip(EVENTS, steps, strict=True):
            got = wire.read_exactly(len(event)) if framing == "length" else read_chunk(wire)
            assert got == event
            step.set()
        if framing != "length":
            assert wire.read_until(b"\r\n\r\n") == b"0\r\n\r\n"
        assert wire.buffer == b""
    line = play.gateway.line(f"/events/{framing}")
    assert (line["status"], line["reason"]) == ("200", "-")
    assert line["size"] == str(sum(map(len, EVENTS)))


def test_the_head_arrives_before_the_first_byte_of_the_body(play):
    act, (first,) = in_lockstep("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", bytes, [b""])
    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        first.set()
        assert wire.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_pieces_arrive_at_once_through_gzip_too(play):
    pieces = [b"line %d of a long text\n" % n for n in range(8)]
    act, steps = in_lockstep(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, pieces
    )
    play.one.act = act
    inflate = zlib.decompressobj(31)
    with play.gateway.connect() as wire:
        wire.send("GET /gzip HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        head = wire.read_until(b"\r\n\r\n").lower()
        assert b"content-encoding: gzip\r\n" in head
        assert b"content-length" not in head
        for piece, step in zip(pieces, steps, strict=True):
            got = b""
            while len(got) < len(piece):
                got += inflate.decompress(read_chunk(wire))
            assert got == piece
            step.set()
        while (rest := read_chunk(wire)) != b"":
            assert inflate.decompress(rest) == b""
        assert inflate.eof


@pytest.mark.parametrize("request_framing", ["length", "chunked"])
@pytest.mark.parametrize("response_framing", ["length", "chunked"])
def test_bodies_both_ways(play, request_framing, response_framing):
    """Larger than every buffer, byte for byte; the framing of each side is that of the other."""
    up = b"".join(b"%08d" % n for n in range(100_000))
    down = up[::-1]

    def act(peer, request):
        peer.read_body(request)
        if response_framing == "length":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(down), down))
        else:
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(down), 7777):
                peer.send(chunk(down[at : at + 7777]))
            peer.send("0\r\n\r\n")

    play.one.act = act
    path = f"/both/{request_framing}/{response_framing}"
    with play.gateway.connect() as wire:
        if request_framing == "length":
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(up)}\r\n\r\n")
            wire.send(up)
        else:
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(up), 55_555):
                wire.send(chunk(up[at : at + 55_555]))
            wire.send("0\r\n\r\n")
        answer = wire.read_response()
        assert answer.complete
        assert answer.body == down
        assert (answer["content-length"] == str(len(down))) == (response_framing == "length")
        (seen,) = play.one.requests
        assert seen.complete
        assert seen.body == up
        assert (seen["content-length"], seen["transfer-encoding"]) == (
            (str(len(up)), None) if request_framing == "length" else (None, "chunked")
        )
        play.one.act = reply(b"after")
        wire.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == b"after"
    line = play.gateway.line(path)
    assert (line["size"], line["reqsize"]) == (str(len(down)), str(len(up)))


def test_upload_pieces_reach_the_backend_as_they_come(play):
    heard = [threading.Event() for _ in range(5)]

    def act(peer, request):
        for n, event in enumerate(heard):
            assert read_chunk(peer) == b"piece %d" % n
            event.set()
        assert peer.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
        peer.send("HTTP/1.1 204 No Content\r\n\r\n")

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n, event in enumerate(heard):
            wire.send(chunk(b"piece %d" % n))
            assert event.wait(5)
        wire.send("0\r\n\r\n")
        assert wire.read_response().status == 204


# --- an answer before the upload is over


@pytest.mark.parametrize("how", ["stays", "closes", "resets"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_413_in_the_middle_of_a_large_upload(play, protocol, how, framing):
    """The backend has had enough; what it says is heard although bytes are still on their way."""
    stop = threading.Event()

    def act(peer, request):
        peer.read_exactly(100_000)
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        if how == "closes":
            peer.close()
        elif how == "resets":
            peer.sock.shutdown(socket.SHUT_WR)
            peer.reset()
        else:
            stop.wait(10)
            peer.close()

    play.one.act = act
    path = f"/413/{how}/{framing}"
    with play.gateway.connect() as wire:
        piece = bytes(50_000)
        if framing == "length":
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n")
        else:
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            piece = chunk(piece)
        over = threading.Event()
        uploader = threading.Thread(target=upload_until, args=(wire, piece, over))
        uploader.start()
        answer = wire.read_response()
        over.set()
        assert (answer.status, answer.body, answer.complete) == (413, b"big", True)
        assert answer["connection"] == ("close" if protocol == "http1" else None)
        stop.set()
        with contextlib.suppress(
            OSError
        ):  # the gateway may have closed: it listens to what is refused for a while only
            wire.sock.shutdown(socket.SHUT_RDWR)
        uploader.join(10)
        assert not uploader.is_alive()
    line = play.gateway.line(path)
    assert (line["status"], line["reason"]) == ("413", "-")
    assert 0 < int(line["reqsize"]) < GIB


def upload_until(wire, piece, over):
    try:
        while not over.is_set():
            wire.send(piece)
    except OSError:
        pass


def test_a_401_before_any_of_the_body(play, protocol):
    """The client has sent the head only, and hears the answer; then the connection ends."""
    play.one.act = lambda peer, request: (
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"),
        peer.read_all(),
        peer.close(),
    )
    with play.gateway.connect() as wire:
        wire.send("POST /401 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        answer = wire.read_response()
        assert (answer.status, answer.body) == (401, b"no")
        assert answer["connection"] == ("close" if protocol == "http1" else None)
        assert wire.is_closed()
    assert not play.one.requests[0].body


# --- a client that leaves


def leaving(play, act, path, read=b"", upload=""):
    """Send a request, read what `read` says, leave; the act's connection must come to its end."""
    left, asked = threading.Event(), threading.Event()

    def watched(peer, request):
        asked.set()
        try:
            act(peer)
        except OSError:
            pass
        left.set()

    play.one.act = watched
    with play.gateway.connect() as wire:
        wire.send(f"{'POST' if upload else 'GET'} {path} HTTP/1.1\r\nHost: a\r\n{upload or chr(13) + chr(10)}")
        assert asked.wait(5)
        wire.read_until(read) if read else None
    assert left.wait(5)
    play.gateway.wait_until_idle()
    return play.gateway.line(path)


def test_it_leaves_while_the_backend_thinks(play):
    line = leaving(play, lambda peer: peer.read_all(), "/left/thinking")
    assert (line["status"], line["reason"], line["size"]) == ("499", "client_gone", "0")
    assert float(line["duration"]) < 5


def test_it_leaves_after_its_upload_while_the_backend_thinks(play):
    upload = "Content-Length: 4\r\n\r\nbody"
    line = leaving(play, lambda peer: peer.read_all(), "/left/uploaded", upload=upload)
    assert (line["status"], line["reason"], line["reqsize"]) == ("499", "client_gone", "4")


def test_it_leaves_in_a_pause_of_the_download(play):
    def act(peer):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning")
        peer.read_all()

    line = leaving(play, act, "/left/pause", read=b"beginning")
    assert (line["status"], line["reason"]) == ("499", "client_gone")


def test_it_leaves_in_the_middle_of_the_download(play):
    def act(peer):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(chunk(bytes(100_000)))

    line = leaving(play, act, "/left/middle", read=bytes(1000))
    assert (line["status"], line["reason"]) == ("499", "client_gone")


def test_it_leaves_in_a_pause_of_a_compressed_download(play):
    def act(peer):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nbeginning")
        peer.read_all()

    with_gzip = "Accept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    line = leaving(play, act, "/left/gzip", read=b"\r\n\r\n", upload=with_gzip)
    assert (line["status"], line["reason"]) == ("499", "client_gone")


def test_it_leaves_in_the_middle_of_its_upload(play):
    """The backend must not take half an upload for a whole one."""
    got = []

    def act(peer):
        got.append(peer.read_until(b"0\r\n\r\n"))

    upload = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    line = leaving(play, act, "/left/upload", upload=upload)
    assert got == [b"5\r\nhello\r\n"]
    assert line["reason"] == "client_gone"


def test_a_reset_is_leaving_too(play):
    asked, left = threading.Event(), threading.Event()
    play.one.act = lambda peer, request: (asked.set(), peer.read_all(), left.set())
    with play.gateway.connect() as wire:
        wire.send("GET /left/reset HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(5)
        wire.reset()
    assert left.wait(5)
    line = play.gateway.line("/left/reset")
    assert (line["status"], line["reason"]) == ("499", "client_gone")


# --- backpressure and memory


def test_a_slow_reader_holds_the_backend_back(play):
    """Nothing is read: the backend gets rid of what the buffers hold, and no more."""
    sent, blocked, done = itertools.count(), threading.Event(), threading.Event()
    total = 0

    def act(peer, request):
        nonlocal total
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {1_000_000_000}\r\n\r\n")
        peer.sock.settimeout(1.0)
        try:
            while True:
                total += peer.sock.send(bytes(65536))
                next(sent)
        except TimeoutError:
            blocked.set()
        done.wait(10)
        peer.close()

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /slow-reader HTTP/1.1\r\nHost: a\r\n\r\n")
        assert blocked.wait(20)
        assert total < 30_000_000
        memory = psutil.Process(play.gateway.workers[0]).memory_info().rss
        assert memory < 200_000_000
    done.set()


def test_a_slow_backend_holds_the_client_back(play):
    done = threading.Event()
    play.one.act = lambda peer, request: (done.wait(20), peer.close())
    with play.gateway.connect() as wire:
        wire.send(f"PUT /slow-backend HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n")
        total = wire.send_while_taken(bytes(65536), 1.0)
    assert 0 < total < 30_000_000
    done.set()


def rss(play):
    return psutil.Process(play.gateway.workers[0]).memory_info().rss


@pytest.mark.timeout(120)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_download_of_one_gibibyte_at_flat_memory(play, framing):
    piece = bytes(1 << 20)

    def act(peer, request):
        if framing == "length":
            peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n")
        else:
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        out = piece if framing == "length" else chunk(piece)
        for _ in range(GIB // len(piece)):
            peer.send(out)
        if framing == "chunked":
            peer.send("0\r\n\r\n")

    play.one.act = act
    play.gateway.get("/health")
    before = peak = rss(play)
    received = 0
    path = f"/gibibyte/down/{framing}"
    with play.gateway.connect() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        while wire.buffer or wire.read_more():
            size = len(wire.buffer)
            received += size
            wire.buffer = b""
            if received % (64 << 20) < size:
                peak = max(peak, rss(play))
    assert received >= GIB
    assert peak - before < 30_000_000
    assert play.gateway.line(path)["size"] == str(GIB)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_of_one_gibibyte_at_flat_memory(play, framing):
    received = 0

    def act(peer, request):
        nonlocal received
        room = bytearray(1 << 20)
        received += len(peer.buffer)
        tail = peer.buffer[-5:]
        while received < GIB or (framing == "chunked" and not tail.endswith(b"\r\n0\r\n\r\n")):
            size = peer.sock.recv_into(room)
            assert size
            received += size
            tail = (tail + room[max(0, size - 10) : size])[-10:]
        peer.buffer = b""
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        peer.close()

    play.one.act = act
    before = peak = rss(play)
    piece = bytes(1 << 20)
    path = f"/gibibyte/up/{framing}"
    with play.gateway.connect() as wire:
        if framing == "length":
            wire.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n")
        else:
            wire.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        out = piece if framing == "length" else chunk(piece)
        for n in range(GIB // len(piece)):
            wire.send(out)
            if n % 64 == 0:
                peak = max(peak, rss(play))
        if framing == "chunked":
            wire.send("0\r\n\r\n")
        assert wire.read_response().body == b"done"
    assert received >= GIB
    assert max(peak, rss(play)) - before < 30_000_000
    assert play.gateway.line(path)["reqsize"] == str(GIB)


def test_idle_connections_are_not_piling_up(play):
    """After all of the above: what is open at the backend is what the pool keeps."""
    eventually(lambda: play.one.open <= 32, "few connections")
