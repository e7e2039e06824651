"""A second backend is asked when the first takes its time: the first head wins, the other attempt leaves no trace."""

import threading

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one two"
INI = """
[gateway]
handlers = health
timeout = 1500ms
[handler:health]
cache = 0s
[route:all]
path = /
upstream = pair
[route:own]
path = /own
upstream = plain
hedge = 100ms
[route:picky]
path = /picky
upstream = picky
[route:alone]
path = /alone
upstream = alone
[route:limited]
path = /limited
upstream = limited
[route:many]
path = /many
upstream = many
[upstream:pair]
backends = {one}, {two}
hedge = 200ms
max_fails = 0
retries = 0
retry_budget = none
[upstream:many]
backends = {one}, {two}
hedge = 200ms
max_fails = 0
retries = 0
[upstream:plain]
backends = {one}, {two}
[upstream:picky]
backends = {one}, {two}
hedge = 100ms
retry_on = 503
max_fails = 0
[upstream:alone]
backends = {one}
hedge = 50ms
[upstream:limited]
backends = {one}, {two}
hedge = 100ms
first_byte_timeout = 400ms
max_fails = 0
retries = 0
"""


@pytest.fixture
def play(stage):
    """Every lane must be gone at the end."""
    stage.reset()
    stage.gateway.wait_until_idle()
    before = stage.gateway.health()["greenlets"]
    yield stage
    stage.gateway.wait_until_idle()
    eventually(lambda: stage.gateway.health()["greenlets"] <= before, "as few greenlets as before")


@pytest.fixture
def hanging():
    """An act that answers nothing; `left` counts the connections on which the gateway has left."""

    def act(peer, request):
        peer.read_all()
        with act.lock:
            act.left += 1

    act.left = 0
    act.lock = threading.Lock()
    return act


def first_hangs(play, hanging, then=None):
    """Whichever is asked first hangs, the other answers its name."""
    lock, asked = threading.Lock(), []

    def acting(name):
        def act(peer, request):
            with lock:
                asked.append(name)
                first = len(asked) == 1
            (hanging if first else (then or reply(name.encode())))(peer, request)

        return act

    play.one.act, play.two.act = acting("one"), acting("two")
    return asked


def failures(play, upstream="pair"):
    return [backend["failures"] for backend in play.gateway.health()["upstreams"][upstream]]


def test_who_answers_in_time_is_asked_alone(play):
    assert play.gateway.get("/quick").status == 200
    assert len(play.one.requests) + len(play.two.requests) == 1
    assert play.gateway.line("/quick")["tries"] == "1"


def test_slow_first_fast_second(play, hanging, stopwatch):
    asked = first_hangs(play, hanging)
    before = failures(play)
    with stopwatch:
        answer = play.gateway.get("/slow-first")
    assert 0.2 <= stopwatch.seconds < 0.7
    assert sorted(asked) == ["one", "two"]
    assert answer.body == asked[1].encode()
    line = play.gateway.line("/slow-first")
    assert (line["tries"], line["reason"]) == ("2", "-")
    assert line["backend"] == f"127.0.0.1:{play.backends[asked[1]].port}"
    eventually(lambda: hanging.left == 1, "the loser's connection closed")
    play.gateway.wait_until_idle()
    assert failures(play) == before


def test_the_first_may_still_win(play):
    go = threading.Event()
    asked = []

    def act(peer, request):
        asked.append(peer)
        if len(asked) == 1:
            go.wait(5)
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        else:
            go.set()
            peer.read_all()

    play.one.act = play.two.act = act
    assert play.gateway.get("/first-wins").body == b"first"
    assert play.gateway.line("/first-wins")["tries"] == "2"


def test_an_answer_that_is_tried_again_does_not_win_over_a_better_one(play):
    go = threading.Event()
    asked = []

    def act(peer, request):
        asked.append(peer)
        if len(asked) == 1:
            go.wait(5)
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        else:
            peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
            go.set()

    play.one.act = play.two.act = act
    answer = play.gateway.get("/picky")
    assert (answer.status, answer.body, len(asked)) == (200, b"first", 2)


def test_a_hedge_and_what_it_helps_are_one_attempt(play):
    asked = []

    def act(peer, request):
        asked.append(peer)
        if len(asked) == 3:
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthird")
        elif len(asked) == 2:
            peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        else:
            eventually(lambda: len(asked) == 2, "the second asked")
            peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")

    play.one.act = play.two.act = act
    answer = play.gateway.get("/picky")
    assert (answer.status, answer.body, len(asked)) == (200, b"third", 3)


def test_a_long_body_of_the_winner(play, hanging):
    body = bytes(range(256)) * 10_000
    first_hangs(play, hanging, reply(body))
    assert play.gateway.get("/long").body == body


def test_both_slow(play, hanging, stopwatch):
    play.one.act = play.two.act = hanging
    with stopwatch:
        answer = play.gateway.get("/both-slow")
    assert 1.5 <= stopwatch.seconds < 2.0
    assert answer.status == 504
    line = play.gateway.line("/both-slow")
    assert (line["reason"], line["tries"]) == ("backend_timeout", "2")
    eventually(lambda: hanging.left == 2, "both connections closed")


def test_both_fail(play):
    together = threading.Barrier(2, timeout=10)
    play.one.act = play.two.act = lambda peer, request: (together.wait(), peer.reset())
    before = failures(play)
    assert play.gateway.get("/both-fail").status == 502
    line = play.gateway.line("/both-fail")
    assert (line["reason"], line["tries"]) == ("backend_reset", "2")
    assert failures(play) == [n + 1 for n in before]


def test_the_second_fails_and_the_first_answers(play):
    go = threading.Event()
    asked = []

    def act(peer, request):
        asked.append(peer)
        if len(asked) == 1:
            go.wait(5)
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        else:
            peer.reset()
            go.set()

    play.one.act = play.two.act = act
    assert play.gateway.get("/second-fails").body == b"first"


def test_a_client_that_leaves_cancels_both(play, hanging):
    play.one.act = play.two.act = hanging
    before = failures(play)
    with play.gateway.connect() as wire:
        wire.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: play.one.requests and play.two.requests, "both asked")
    eventually(lambda: hanging.left == 2, "both connections closed")
    line = play.gateway.line("/gone")
    assert (line["status"], line["reason"]) == ("499", "client_gone")
    assert float(line["duration"]) < 1.4
    play.gateway.wait_until_idle()
    assert failures(play) == before


def test_a_pipelined_request_is_no_leaving(play, hanging):
    first_hangs(play, hanging)
    with play.gateway.connect() as wire:
        wire.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: play.one.requests or play.two.requests, "the first")
        wire.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [wire.read_response().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("request_line", ["POST /unsafe HTTP/1.1", "PUT /unsafe HTTP/1.1"])
def test_what_has_a_body_or_may_not_be_done_twice_is_asked_once(play, hanging, request_line):
    play.one.act = play.two.act = hanging
    length = "Content-Length: 1\r\n\r\nx" if "PUT" in request_line else "\r\n"
    answer = play.gateway.ask(f"{request_line}\r\nHost: a\r\n{length}")
    assert answer.status == 504
    assert len(play.one.requests) + len(play.two.requests) == 1


def test_a_single_backend_has_no_second(play, hanging):
    play.one.act = hanging
    assert play.gateway.get("/alone").status == 504
    assert len(play.one.requests) == 1


def test_a_route_has_its_own(play, hanging, stopwatch):
    first_hangs(play, hanging)
    with stopwatch:
        assert play.gateway.get("/own").status == 200
    assert 0.1 <= stopwatch.seconds < 0.6


def test_each_has_the_limits_of_an_attempt(play, hanging, stopwatch):
    play.one.act = play.two.act = hanging
    with stopwatch:
        assert play.gateway.get("/limited").status == 504
    assert 0.5 <= stopwatch.seconds < 0.9
    assert play.gateway.line("/limited")["reason"] == "first_byte_timeout"


def test_the_budget_bounds_it(play, hanging):
    """Ten at once: two of them would be 20 %, three are always allowed."""
    play.one.act = play.two.act = hanging
    wires = [play.gateway.connect() for _ in range(10)]
    for n, wire in enumerate(wires):
        wire.send(f"GET /many/{n} HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [wire.read_response().status for wire in wires] == [504] * 10
    assert len(play.one.requests) + len(play.two.requests) == 13
    for wire in wires:
        wire.sock.close()
