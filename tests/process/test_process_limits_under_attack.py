"""Turns and requests under way with many keys and with clients that leave at any moment, over two workers."""

import random
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from gproxy.testing.backends import Actor, Held
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = 2
grace = 20s
[gateway]
handlers = metrics, health, places, turns
timeout = 20s
[handler:metrics]
[handler:health]
cache = 0s
[handler:places]
use = concurrency
limit = 4
key = header:X-User
max_clients = 500
[handler:turns]
use = rate_limit
limit = 20/second
burst = 30
delay = 2
key = header:X-User
max_clients = 500
[route:all]
upstream = one
[upstream:one]
backends = BACKEND
[log]
access = log/access.log
"""
ATTACKERS, EACH = 8, 150


def attack(gateway, number, statuses):
    """Ask for one of few users, or for a user of its own; stay, leave at once, or reset in the middle."""
    draws = random.Random(number)
    for turn in range(EACH):
        user = f"few{draws.randrange(6)}" if draws.random() < 0.6 else f"own{number}-{turn}"
        with suppress(OSError), gateway.connect() as wire:
            head = f"POST /{user} HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\nContent-Length: 4\r\n\r\n"
            wire.send(head + "body"[: draws.randrange(5)])
            match draws.randrange(4):
                case 0:
                    wire.send("body")
                    statuses.append(wire.read_response().status)
                case 1:
                    wire.sock.shutdown(socket.SHUT_WR)
                case 2:
                    wire.reset()


def places(gateway, held, user):
    """How many of eight requests at the same time the limit of concurrent requests admits."""
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(gateway.get, "/", f"X-User: {user}") for _ in range(8)]
        for _ in range(4):
            assert held.asked.acquire(timeout=15)
        eventually(lambda: sum(one.done() for one in running) == 4, "rejections")
        held.go.set()
        found = [one.result().status for one in running]
    return found.count(200)


def test_at_the_end_all_places_are_free_and_nothing_is_left(tmp_path):
    held = Held()
    held.go.set()
    with Actor(held) as backend, RunningGateway(INI.replace("BACKEND", backend.url), tmp_path) as gateway:
        greenlets = gateway.health()["greenlets"]
        statuses = []
        with ThreadPoolExecutor(ATTACKERS) as pool:
            attacks = [pool.submit(attack, gateway, number, statuses) for number in range(ATTACKERS)]
            gateway.signal(signal.SIGHUP)  # in the middle of it
            assert [one.result() for one in attacks] == [None] * ATTACKERS
        gateway.wait_for_line("reloaded: generation 2")
        assert {*statuses} <= {200, 429}
        assert 200 in statuses
        gateway.wait_until_idle()
        eventually(lambda: gateway.health()["greenlets"] <= greenlets + 4, "the end of all greenlets")
        for user in ("new", "few0", "few3", "own1-3"):
            # What still waits, of a client that has gone, is noticed at once; turns of before come within 1.5 s.
            eventually(lambda user=user: gateway.get("/", f"X-User: {user}").status == 200, "a free place")
            while held.asked.acquire(blocking=False):
                pass
            held.go.clear()
            assert places(gateway, held, user) == 4
        assert gateway.metric('gproxy_concurrency_uncounted_total{handler="places"}') == 0
        assert "Traceback" not in gateway.errors
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
