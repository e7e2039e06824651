"""Bursts and turns of the rate limit through real sockets: when requests start, and how those that wait end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BACKENDS = "one"
INI = """
[gateway]
handlers = metrics, health
timeout = 10s
[handler:metrics]
[handler:health]
cache = 0s
[route:burst]
path = /burst
upstream = one
handlers = burst
[route:turns]
path = /turns
upstream = one
handlers = turns
[route:long]
path = /long
upstream = one
handlers = long
timeout = 10m
[route:brief]
path = /brief
upstream = one
handlers = brief
timeout = 600ms
[upstream:one]
backends = {one}
[handler:burst]
use = rate_limit
limit = 1/minute
burst = 5
key = header:X-User
[handler:turns]
use = rate_limit
limit = 20/second
burst = 8
delay = 2
key = header:X-User
[handler:long]
use = rate_limit
limit = 1/5s
burst = 50
delay = 1
key = header:X-User
[handler:brief]
use = rate_limit
limit = 10/second
burst = 20
delay = 1
key = header:X-User
"""


class Recorder:
    """An act that notes when each request of /turns arrived at the backend."""

    def __init__(self):
        self.began = time.monotonic()
        self.times = []

    def none_is_early(self):
        """Two start at once, and further ones a twentieth of a second apart; timers are exact to a millisecond."""
        return all(at >= self.began + (number - 1) * 0.05 - 0.002 for number, at in enumerate(sorted(self.times)))

    def __call__(self, peer, request):
        self.times.append(time.monotonic())
        reply(b"ok")(peer, request)


def ask(play, path, user):
    return play.gateway.get(path, f"X-User: {user}")


def at_once(play, path, user, count):
    with ThreadPoolExecutor(count) as pool:
        return [*pool.map(lambda _: ask(play, path, user), range(count))]


def statuses(answers):
    return sorted(answer.status for answer in answers)


def waiting(play, user, count, path="/long", body=""):
    """So many connections, each with a request that waits for its turn; the first has had it."""
    assert ask(play, path, user).status == 200
    before = delayed(play, path)
    wires = [play.gateway.connect() for _ in range(count)]
    for wire in wires:
        wire.send(f"POST {path}/{user} HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\nContent-Length: 4\r\n\r\n{body}")
    eventually(lambda: delayed(play, path) == before + count, "requests that wait")
    return wires


def delayed(play, path):
    return play.gateway.metric(f'gproxy_rate_limit_delayed_total{{handler="{path[1:]}"}}')


def gone(play, user):
    lines = [line for line in play.gateway.access() if line["path"] == f"/long/{user}"]
    return [line["reason"] for line in lines].count("client_gone")


def test_a_burst_passes_at_once_and_the_next_request_not(play):
    assert statuses(at_once(play, "/burst", "alice", 12)) == [200] * 5 + [429] * 7
    refused = ask(play, "/burst", "alice")
    assert refused.status == 429 and 50 < int(refused["retry-after"]) <= 60
    assert refused["ratelimit-policy"] == '"default";q=5;w=300'
    assert ask(play, "/burst", "bob")["ratelimit"] == '"default";r=4;t=60'
    assert len(play.one.requests) == 6


def test_further_requests_of_a_burst_start_one_after_the_other(play):
    play.one.act = recorder = Recorder()
    assert statuses(at_once(play, "/turns", "alice", 12)) == [200] * 8 + [429] * 4
    assert len(recorder.times) == 8
    assert recorder.none_is_early()


def test_a_client_that_never_pauses_gets_the_rate(play):
    play.one.act = recorder = Recorder()
    over = threading.Event()

    def keep_asking(_):
        while not over.is_set():
            ask(play, "/turns", "carol")

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(keep_asking, number) for number in range(4)]
        eventually(lambda: len(recorder.times) > 40, "requests")
        over.set()
        assert all(one.result() is None for one in running)
    assert recorder.none_is_early()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("body", ["", "half", "more than this one"])
def test_a_client_that_leaves_while_it_waits(play, how, body):
    user = f"leaves{how}{len(body)}"
    (wire,) = waiting(play, user, 1, body=body[:4])
    (wire.reset if how == "reset" else wire.sock.close)()
    line = play.gateway.line(f"/long/{user}")
    assert (line["status"], line["reason"], line["backend"]) == ("499", "client_gone", "-")
    assert float(line["duration"]) < 4  # its turn would have been after 5 s
    assert len(play.one.requests) == 1


def test_clients_that_wait_and_leave_leave_nothing_behind(play):
    before = play.gateway.health()["greenlets"]
    for turn in range(3):
        wires = [wire for number in range(4) for wire in waiting(play, f"crowd{turn}{number}", 15)]
        assert play.gateway.health()["greenlets"] >= before + 60
        for wire in wires:
            wire.sock.close()
        for number in range(4):
            eventually(lambda user=f"crowd{turn}{number}": gone(play, user) == 15, "access lines of all")
    eventually(lambda: play.gateway.health()["greenlets"] <= before + 3, "the end of their greenlets")
    assert len(play.one.requests) == 12
    assert ask(play, "/long", "somebody else").status == 200


def test_a_turn_that_comes_too_late_for_the_deadline_is_rejected_at_once(play, stopwatch):
    with stopwatch as watch:
        answers = at_once(play, "/brief", "dave", 12)
    # 300 ms, half of the timeout, have room for three turns behind the first request.
    assert statuses(answers).count(200) in {4, 5}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused["retry-after"] == "1"
    assert watch.seconds < 5
    assert all(answer.status in {200, 429} for answer in answers)


def test_a_request_behind_one_that_waits(play):
    with play.gateway.connect() as wire:
        for _ in range(5):
            wire.send("GET /turns HTTP/1.1\r\nHost: a\r\nX-User: pipeline\r\n\r\n")
        assert [wire.read_response().status for _ in range(5)] == [200] * 5
