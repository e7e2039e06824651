"""Bursts and turns of several workers and of several machines, through reloads and stops."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.testing.redis import RunningRedis

INI = """
[server]
workers = WORKERS
grace = 20s
[gateway]
handlers = metrics, health
timeout = 100s
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
[upstream:one]
backends = BACKEND
[handler:burst]
use = rate_limit
limit = 1/minute
burst = 20
key = header:X-User
[handler:turns]
use = rate_limit
limit = 10/second
burst = 15
delay = 3
key = header:X-User
[log]
access = log/access.log
"""
STATE = """
[state]
redis = ${REDIS}
timeout = 1s
lease = LEASE
"""


class Machines:
    """One gateway or several before one backend, which notes when each request arrived."""

    def __init__(self, folder, *, workers=1, count=1, redis="", lease=1):
        self.arrivals = []
        self.backend = Actor(self._act)
        self._ini = INI.replace("WORKERS", str(workers)) + (STATE.replace("LEASE", str(lease)) if redis else "")
        self._folder, self._count, self._redis = folder, count, redis
        self.gateways = []

    def __enter__(self):
        self._stack = ExitStack()
        ini = self._ini.replace("BACKEND", self._stack.enter_context(self.backend).url)
        for number in range(self._count):
            folder = self._folder / f"machine{number}"
            folder.mkdir()
            gateway = RunningGateway(ini, folder, environ={"REDIS": self._redis})
            self.gateways.append(self._stack.enter_context(gateway))
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)

    def _act(self, peer, request):
        self.arrivals.append(time.monotonic())
        reply(b"ok")(peer, request)

    def ask(self, count, path="/burst", user="alice"):
        """So many requests at the same time, in turn to each machine: how many got which status."""
        with ThreadPoolExecutor(16) as pool:
            places = [self.gateways[number % self._count] for number in range(count)]
            found = [*pool.map(lambda gateway: gateway.get(path, f"X-User: {user}").status, places)]
        return {status: found.count(status) for status in set(found)}

    def waiting(self, pool, user):
        """Fifteen requests at the same time, once twelve of them wait; the futures of their statuses."""
        gateway, before = self.gateways[0], self._delayed()
        futures = [pool.submit(lambda: gateway.get("/turns", f"X-User: {user}").status) for _ in range(15)]
        eventually(lambda: self._delayed() == before + 12, "requests that wait")
        return futures

    def _delayed(self):
        return self.gateways[0].metric('gproxy_rate_limit_delayed_total{handler="turns"}')


def none_is_early(arrivals, began):
    """Three at once, and further ones a tenth of a second apart."""
    return all(at >= began + (number - 2) * 0.1 - 0.002 for number, at in enumerate(sorted(arrivals)))


@pytest.mark.parametrize("workers", [1, 2])
def test_exactly_the_burst_passes_whoever_is_asked_and_whatever_is_reloaded(tmp_path, workers):
    with Machines(tmp_path, workers=workers) as machines:
        machines.gateways[0].wait_for_answers_of(workers)
        assert machines.ask(15) == {200: 15}
        machines.gateways[0].reload()
        assert machines.ask(15) == {200: 5, 429: 10}
        machines.gateways[0].reload()
        assert machines.ask(5) == {429: 5}
        assert machines.ask(25, user="bob") == {200: 20, 429: 5}


def test_two_workers_give_each_turn_once(tmp_path):
    with Machines(tmp_path, workers=2) as machines:
        machines.gateways[0].wait_for_answers_of(2)
        began = time.monotonic()
        found = machines.ask(16, "/turns")
        assert found == {200: 15, 429: 1} or found == {200: 16}  # the last one, if 0.1 s have passed by then
        assert none_is_early(machines.arrivals, began)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_and_a_reload_lose_no_request_that_waits(tmp_path, workers):
    with Machines(tmp_path, workers=workers) as machines, ThreadPoolExecutor(15) as pool:
        machines.gateways[0].wait_for_answers_of(workers)
        began = time.monotonic()
        futures = machines.waiting(pool, "alice")
        machines.gateways[0].reload()
        assert machines.ask(1, "/turns") in ({429: 1}, {200: 1})  # in turn behind those of the old generation
        assert [future.result(15) for future in futures] == [200] * 15
        assert none_is_early(machines.arrivals, began)

        futures = machines.waiting(pool, "bob")
        machines.gateways[0].signal(signal.SIGTERM)
        assert machines.gateways[0].wait() == 0
        assert [future.result(15) for future in futures] == [200] * 15


def test_two_machines_share_a_burst_by_redis(tmp_path):
    with RunningRedis(tmp_path) as server, Machines(tmp_path, count=2, redis=server.url) as machines:
        assert machines.ask(40) == {200: 20, 429: 20}
        server.kill()
        # Each machine counts for itself, from nothing.
        assert machines.ask(60, user="carol") == {200: 40, 429: 20}


def test_leases_cost_a_burst_no_more_than_the_lease_of_each_machine(tmp_path):
    with RunningRedis(tmp_path) as server, Machines(tmp_path, count=2, redis=server.url, lease=10) as machines:
        for user in range(5):
            admitted = machines.ask(40, user=f"user{user}")[200]
            assert 20 - 2 * 9 - 1 <= admitted <= 20


def test_two_machines_give_each_turn_once_whatever_is_leased(tmp_path):
    with RunningRedis(tmp_path) as server, Machines(tmp_path, count=2, redis=server.url, lease=10) as machines:
        began = time.monotonic()
        found = machines.ask(16, "/turns")
        assert found == {200: 15, 429: 1} or found == {200: 16}
        assert none_is_early(machines.arrivals, began)
