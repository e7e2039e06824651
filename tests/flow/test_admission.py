"""Limits, queues and breakers through real sockets: what clients get, and that every slot and place comes back."""

import threading
from contextlib import contextmanager

import pytest

from gproxy.testing.backends import Held, reply, switching
from gproxy.testing.gateway import eventually

BACKENDS = "one wide left right broken tripped"
INI = """
[gateway]
handlers = health
timeout = 10s
[handler:health]
cache = 0s
[handler:twice]
use = handlers:twice
[handler:dropped]
use = handlers:dropped
[route:queued]
path = /queued
upstream = queued
buffer_request = 0
[route:twice]
path = /twice
upstream = queued
handlers = twice
[route:dropped]
path = /dropped
upstream = queued
handlers = dropped
[route:impatient]
path = /impatient
upstream = impatient
[route:brief]
path = /brief
upstream = queued
timeout = 300ms
[route:brief_dropped]
path = /brief/dropped
upstream = queued
timeout = 300ms
handlers = dropped
[route:capped]
path = /capped
upstream = capped
[route:broken]
path = /broken
upstream = broken
[route:tripped]
path = /tripped
upstream = tripped
timeout = 200ms
[upstream:queued]
backends = {one}
max_requests = 1
queue = 2
queue_timeout = 8s
max_fails = 0
[upstream:impatient]
backends = {wide}
max_requests = 1
queue = 1
queue_timeout = 200ms
[upstream:capped]
backends = {left} max_connections=1, {right} max_connections=1
queue = 10
queue_timeout = 8s
[upstream:broken]
backends = {broken}
breaker = on
breaker_requests = 4
breaker_open = 400ms
breaker_window = 60s
[upstream:tripped]
backends = {tripped}
breaker = on
breaker_requests = 4
breaker_open = 400ms
max_requests = 50
"""
HANDLERS = """
def twice(request, next):
    first = next(request)
    if hasattr(first.body, "__iter__") and not isinstance(first.body, bytes):
        first.read()
    return next(request)


def dropped(request, next):
    next(request)
    return next(request)
"""


def gate(play, name):
    return play.gateway.health()["admission"][name]


@contextmanager
def asking(play, path):
    """A request under way, on a connection of its own."""
    with play.gateway.connect() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
        yield wire


@contextmanager
def in_line(play, *paths, name="queued"):
    """Requests that wait, one after the other."""
    wires = []
    try:
        for number, path in enumerate(paths, gate(play, name)["queued"] + 1):
            wires.append(play.gateway.connect())
            wires[-1].send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda number=number: gate(play, name)["queued"] == number, f"{path} waits")
        yield wires
    finally:
        for wire in wires:
            wire.sock.close()


def is_refusal(play, answer, path, reason, error="connection_limit_reached"):
    assert (answer.status, answer["retry-after"], answer["proxy-status"]) == (503, "1", f"gproxy; error={error}")
    found = []
    eventually(
        lambda: found.extend(e for e in play.gateway.access() if e["id"] == answer["x-request-id"]) or found, "a line"
    )
    (line,) = found
    assert line["path"] == path
    assert (line["status"], line["reason"], line["backend"]) == ("503", reason, "-")
    return True


def test_who_comes_too_early_waits_in_turn_and_who_finds_no_place_is_refused(play):
    play.one.act = held = Held()
    with asking(play, "/queued/0") as first:
        assert held.asked.acquire(timeout=5)
        with in_line(play, "/queued/1", "/queued/2") as waiting:
            assert gate(play, "queued") == {"active": 1, "limit": 1, "queued": 2}
            assert is_refusal(play, play.gateway.get("/queued/full"), "/queued/full", "queue_full")
            held.go.set()
            assert [wire.read_response().status for wire in (first, *waiting)] == [200] * 3
    assert held.paths == ["/queued/0", "/queued/1", "/queued/2"]
    assert gate(play, "queued") == {"active": 0, "limit": 1, "queued": 0}


def test_who_waits_too_long_is_refused(play):
    play.wide.act = held = Held()
    with asking(play, "/impatient/0") as first:
        assert held.asked.acquire(timeout=5)
        assert is_refusal(play, play.gateway.get("/impatient/late"), "/impatient/late", "queue_timeout")
        held.go.set()
        assert first.read_response().status == 200
    assert held.paths == ["/impatient/0"]


def test_a_deadline_that_passes_in_the_queue(play):
    play.one.act = held = Held()
    with asking(play, "/queued/0") as first:
        assert held.asked.acquire(timeout=5)
        assert is_refusal(play, play.gateway.get("/brief"), "/brief", "queue_timeout")
        held.go.set()
        assert first.read_response().status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_the_queue_takes_nobodys_turn(play, how):
    play.one.act = held = Held()
    with asking(play, "/queued/0") as first:
        assert held.asked.acquire(timeout=5)
        with in_line(play, f"/queued/gone/{how}", "/queued/2") as (gone, last):
            (gone.reset if how == "reset" else gone.sock.close)()
            eventually(lambda: gate(play, "queued")["queued"] == 1, "one place free")
            assert play.gateway.line(f"/queued/gone/{how}")["reason"] == "client_gone"
            held.go.set()
            assert [wire.read_response().status for wire in (first, last)] == [200] * 2
    assert held.paths == ["/queued/0", "/queued/2"]


def test_a_client_that_waits_with_a_body_and_another_request_behind_it(play):
    play.one.act = held = Held()
    with asking(play, "/queued/0") as first:
        assert held.asked.acquire(timeout=5)
        with play.gateway.connect() as wire:
            wire.send("POST /queued/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
            eventually(lambda: gate(play, "queued")["queued"] == 1, "it waits")
            wire.send("done" + "GET /queued/2 HTTP/1.1\r\nHost: a\r\n\r\n")
            held.go.set()
            assert [one.read_response().status for one in (first, wire, wire)] == [200] * 3
    assert [seen.body for seen in play.one.requests][1] == b"halfdone"


def test_a_stream_holds_its_slot_until_it_ends(play):
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        go.wait(10)
        peer.send("0\r\n\r\n")

    play.one.act = act
    with asking(play, "/queued/stream") as stream:
        stream.read_until(b"half")
        assert gate(play, "queued")["active"] == 1
        with in_line(play, "/queued/next") as (waiting,):
            go.set()
            stream.read_until(b"0\r\n\r\n")
            waiting.read_until(b"half")


def test_a_stream_that_the_client_leaves_gives_its_slot_back(play):
    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        peer.read_all()
        peer.close()

    play.one.act = act
    with asking(play, "/queued/left") as stream:
        stream.read_until(b"half")
        play.one.act = reply(b"next")
        with in_line(play, "/queued/next") as (waiting,):
            stream.sock.close()
            assert waiting.read_response().body == b"next"


def test_a_tunnel_holds_its_slot_until_it_ends(play):
    def act(peer, request):
        peer.send(switching(request))
        peer.send(peer.read_exactly(4))
        peer.read_all()
        peer.close()

    play.one.act = act
    with play.gateway.connect() as wire:
        wire.send("GET /queued/tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        wire.send("echo")
        assert wire.read_exactly(4) == b"echo"
        assert gate(play, "queued")["active"] == 1
        play.one.act = reply(b"next")
        with in_line(play, "/queued/next") as (waiting,):
            wire.sock.close()
            assert waiting.read_response().body == b"next"


def test_a_backend_that_fails_gives_the_slot_back(play):
    play.one.act = lambda peer, request: peer.reset()
    assert [play.gateway.get("/queued", method="POST").status for _ in range(3)] == [502] * 3
    assert gate(play, "queued") == {"active": 0, "limit": 1, "queued": 0}


def test_a_timeout_gives_the_slot_back(play):
    play.one.act = lambda peer, request: (peer.read_all(), peer.close())
    assert play.gateway.get("/brief").status == 504
    assert gate(play, "queued")["active"] == 0


@pytest.mark.parametrize(("path", "size"), [("/twice", 10), ("/twice", 300_000), ("/dropped", 10)])
def test_a_handler_that_asks_twice_has_one_slot_after_the_other(play, path, size):
    play.one.act = reply(b"x" * size)
    assert play.gateway.get(path).body == b"x" * size


def test_a_stream_that_a_handler_drops_holds_its_slot_until_the_request_ends(play):
    play.one.act = reply(b"x" * 300_000)
    answer = play.gateway.get("/brief/dropped")
    assert answer.status == 503
    assert gate(play, "queued")["active"] == 0


def test_all_backends_full_is_a_reason_to_wait(play):
    play.left.act = play.right.act = held = Held()
    with asking(play, "/capped/0") as first, asking(play, "/capped/1") as second:
        assert held.asked.acquire(timeout=5) and held.asked.acquire(timeout=5)
        with in_line(play, *(f"/capped/{number}" for number in range(2, 8)), name="capped") as waiting:
            assert gate(play, "capped") == {"active": 2, "limit": 2, "queued": 6}
            held.go.set()
            assert {wire.read_response().status for wire in (first, second, *waiting)} == {200}
    assert len(held.paths) == 8


@pytest.mark.parametrize("leaving", [False, True])
def test_a_crowd_through_a_narrow_door(play, leaving):
    """Never more than two at a time; and if some leave at once, the others are all answered."""
    most = [0]
    inside = [0]
    lock = threading.Lock()

    def act(peer, request):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        threading.Event().wait(0.005)
        with lock:
            inside[0] -= 1
        reply(b"ok")(peer, request)

    play.left.act = play.right.act = act
    statuses = []

    def visitor(number):
        for turn in range(5):
            with asking(play, f"/capped/{number}/{turn}") as wire:
                if (number + turn) % 4 or not leaving:
                    statuses.append(wire.read_response().status)

    visitors = [threading.Thread(target=visitor, args=(number,)) for number in range(12)]
    for thread in visitors:
        thread.start()
    for thread in visitors:
        thread.join()
    assert most[0] <= 2 or leaving  # a backend goes on for a while with what nobody waits for
    assert len(statuses) == (45 if leaving else 60)
    assert set(statuses) <= {200, 503}  # ten places and two slots are not enough for twelve at the very same moment
    assert statuses.count(200) >= 30
    play.gateway.wait_until_idle()
    assert gate(play, "capped") == {"active": 0, "limit": 2, "queued": 0}


# The circuit breaker


def closed(play, name, path):
    play.gateway.get(path)
    return gate(play, name)["breaker"] == "closed"


def test_a_breaker_opens_says_when_to_come_back_and_closes_again(play):
    play.broken.act = reply(b"sick", status="500 Sick")
    assert [play.gateway.get("/broken").status for _ in range(6)] == [500] * 6  # 500 is an answer
    play.broken.act = lambda peer, request: peer.reset()
    refused = []

    def is_open():
        answer = play.gateway.get("/broken/post", method="POST")
        if answer["proxy-status"] == "gproxy; error=destination_unavailable":
            refused.append(answer)
        return refused

    eventually(is_open, "open")
    assert is_refusal(play, refused[0], "/broken/post", "breaker_open", "destination_unavailable")
    assert play.gateway.health()["status"] == "degraded"
    assert gate(play, "broken")["breaker"] == "open"
    play.gateway.wait_for_line("upstream broken: circuit breaker open for 0.4 s")
    play.broken.act = reply(b"well")
    eventually(lambda: closed(play, "broken", "/broken"), "closed")
    assert [play.gateway.get("/broken").body for _ in range(5)] == [b"well"] * 5
    play.gateway.wait_for_line("upstream broken: circuit breaker recovering: a growing share passes")
    play.gateway.wait_for_line("upstream broken: circuit breaker closed")


def test_an_open_breaker_spares_the_backend(play):
    play.broken.act = reply(b"sick", status="503 Sick")
    eventually(lambda: play.gateway.get("/broken")["proxy-status"], "open")
    play.broken.requests.clear()
    answers = [play.gateway.get("/broken") for _ in range(20)]
    assert len(play.broken.requests) <= 3  # trials, if it took that long
    assert [answer.status for answer in answers] == [503] * 20
    play.broken.act = reply(b"well")
    eventually(lambda: closed(play, "broken", "/broken"), "closed")


def test_timeouts_open_a_breaker_and_clients_that_leave_do_not(play):
    play.tripped.act = lambda peer, request: (peer.read_all(), peer.close())
    for _ in range(6):
        with asking(play, "/tripped/left"):
            pass
    play.gateway.wait_until_idle()
    assert gate(play, "tripped")["breaker"] == "closed"
    assert [play.gateway.get("/tripped").status for _ in range(4)] == [504] * 4
    assert gate(play, "tripped") | {"next_try_in": 0} == {
        "active": 0, "breaker": "open", "limit": 50, "next_try_in": 0, "queued": 0,
    }  # fmt: skip
    play.tripped.act = reply(b"well")
    eventually(lambda: closed(play, "tripped", "/tripped"), "closed")
