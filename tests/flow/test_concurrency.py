"""The limit of requests that a client has under way: that each way in which a request ends gives its place back."""

import threading
from contextlib import ExitStack, contextmanager

import pytest

from gproxy.testing.backends import Held, reply, switching
from gproxy.testing.gateway import eventually

BACKENDS = "one"
INI = """
[gateway]
handlers = metrics, health
timeout = 10s
[handler:metrics]
[handler:health]
cache = 0s
[route:two]
path = /two
upstream = one
handlers = two
[route:again]
path = /again
upstream = one
handlers = again, two
[route:brief]
path = /brief
upstream = one
handlers = two
timeout = 300ms
[route:broken]
path = /broken
upstream = one
handlers = two, broken
[route:own]
path = /own
handlers = two, own
respond = 404
stream = yes
[upstream:one]
backends = {one}
retries = 0
max_fails = 0
read_timeout = 1s
[handler:two]
use = concurrency
limit = 2
key = header:X-User
[handler:again]
use = handlers:again
[handler:broken]
use = handlers:broken
[handler:own]
use = handlers:own
"""
HANDLERS = """
from gproxy import Response


def again(request, next):
    next(request)
    return next(request)


def broken(request, next):
    raise RuntimeError("broken")


def own(request, next):
    def pieces():
        yield b"a piece"
        raise RuntimeError("broken in the middle")
    return Response(200, pieces())
"""


def head(path, user, *lines):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", f"X-User: {user}", *lines, "", ""])


def ask(play, user, path="/two"):
    return play.gateway.get(path, f"X-User: {user}")


@contextmanager
def under_way(play, user, count, path="/two"):
    """So many connections with a request each, which the backend has got."""
    play.one.act = held = Held()
    with ExitStack() as stack:
        stack.callback(held.go.set)
        wires = []
        for _ in range(count):
            wires.append(stack.enter_context(play.gateway.connect()))
            wires[-1].send(head(path, user))
            assert held.asked.acquire(timeout=10)
        yield held, wires


def has_all_places(play, user):
    """Both places of the client are free: two requests at once are admitted, and a third is not."""
    with under_way(play, user, 2) as (held, wires):
        refused = ask(play, user)
        held.go.set()
        assert [wire.read_response().status for wire in wires] == [200, 200]
    return refused.status == 429


def soon_has_all_places(play, user):
    """As above, once a request that has ended for the client has ended for the gateway too."""
    eventually(lambda: ask(play, user).status == 200, "a free place")
    return has_all_places(play, user)


def test_a_third_request_at_the_same_time_is_rejected_and_one_of_another_client_not(play):
    with under_way(play, "alice", 2) as (held, wires):
        refused = ask(play, "alice")
        assert (refused.status, refused["retry-after"]) == (429, "1")
        assert b'"limit of 2 concurrent requests exceeded"' in refused.body
        assert play.gateway.access(1)[-1]["reason"] == "concurrency_limited"
        held.go.set()
        assert [wire.read_response().status for wire in wires] == [200, 200]
    assert ask(play, "bob").status == 200
    assert has_all_places(play, "alice")
    assert play.gateway.metric('gproxy_concurrency_limited_total{handler="two"}') == 2


def test_a_connection_that_is_kept_has_its_place_only_while_it_asks(play):
    with ExitStack() as stack:
        for _ in range(3):
            wire = stack.enter_context(play.gateway.connect())
            for _ in range(3):
                wire.send(head("/two", "kept"))
                assert wire.read_response().status == 200
        assert has_all_places(play, "kept")


def test_requests_in_a_pipeline_count_one_at_a_time(play):
    with play.gateway.connect() as wire:
        wire.send(head("/two", "pipeline") * 5)
        assert [wire.read_response().status for _ in range(5)] == [200] * 5
    assert has_all_places(play, "pipeline")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_clients_that_leave_give_their_places_back(play, how):
    for _ in range(3):
        with under_way(play, how, 2) as (_, wires):
            for wire in wires:
                (wire.reset if how == "reset" else wire.sock.close)()
            play.one.act = reply(b"ok")
            eventually(lambda: ask(play, how).status == 200, "a free place, although the backend still works")
    assert soon_has_all_places(play, how)


def test_a_deadline_gives_the_place_back(play):
    with under_way(play, "late", 2, "/brief") as (_, wires):
        assert [wire.read_response().status for wire in wires] == [504, 504]
    assert soon_has_all_places(play, "late")


@pytest.mark.parametrize("path", ["/broken", "/own"])
def test_a_handler_that_fails_gives_the_place_back(play, path):
    for _ in range(3):
        answer = ask(play, "broken", path)
        assert answer.status == (500 if path == "/broken" else 200)
        assert path == "/broken" or not answer.complete
    assert soon_has_all_places(play, "broken")


def test_a_backend_that_breaks_off_gives_the_place_back(play):
    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        peer.close()

    play.one.act = act
    for _ in range(3):
        assert not ask(play, "half").complete
    assert soon_has_all_places(play, "half")


def test_a_backend_that_goes_silent_gives_the_place_back(play):
    held = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        held.wait(15)

    play.one.act = act
    assert not ask(play, "silent").complete
    held.set()
    play.one.act = reply(b"ok")
    assert soon_has_all_places(play, "silent")


def test_a_stream_has_its_place_until_its_last_byte(play):
    go = threading.Event()

    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        go.wait(10)
        peer.send("0\r\n\r\n")

    play.one.act = act
    with play.gateway.connect() as one, play.gateway.connect() as two:
        for wire in (one, two):
            wire.send(head("/two", "stream"))
            wire.read_until(b"half")
        assert ask(play, "stream").status == 429
        go.set()
        for wire in (one, two):
            wire.read_until(b"0\r\n\r\n")
        play.one.act = reply(b"ok")
        assert soon_has_all_places(play, "stream")


def test_a_tunnel_has_its_place_until_it_ends(play):
    def act(peer, request):
        peer.send(switching(request))
        peer.read_all()
        peer.close()

    play.one.act = act
    with play.gateway.connect() as one, play.gateway.connect() as two:
        for wire in (one, two):
            wire.send(head("/two", "tunnel", "Connection: Upgrade", "Upgrade: websocket"))
            assert wire.read_response().status == 101
        assert ask(play, "tunnel").status == 429
    play.one.act = reply(b"ok")
    assert soon_has_all_places(play, "tunnel")


def test_a_handler_that_calls_the_chain_again_counts_once(play):
    with play.gateway.connect() as wire:
        for _ in range(3):
            wire.send(head("/again", "again"))
            assert wire.read_response().status == 200
    assert len(play.one.requests) == 6
    assert has_all_places(play, "again")


def test_many_clients_that_come_and_leave_at_any_moment(play):
    """Some leave before the backend answers, some in the middle of their head, some stay."""
    play.one.act = held = Held()
    with ExitStack() as stack:
        staying = []
        for number in range(240):
            wire = stack.enter_context(play.gateway.connect())
            whole = head("/two", f"crowd{number % 12}")
            wire.send(whole[: -number % len(whole)] if number % 5 == 0 else whole)
            if number % 3:
                wire.sock.close()
            elif number % 5:
                staying.append(wire)
        held.go.set()
        statuses = {wire.read_response().status for wire in staying}
    assert statuses <= {200, 429}
    for number in range(12):
        assert soon_has_all_places(play, f"crowd{number}")
    assert play.gateway.metric('gproxy_concurrency_uncounted_total{handler="two"}') == 0
