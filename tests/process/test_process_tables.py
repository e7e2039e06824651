"""Tables, locks and the client of Redis that handlers use: several workers, several gateways, kills and reloads."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.testing.redis import RunningRedis

HANDLERS = """
import os
import time
from dataclasses import dataclass

from gproxy import HTTPError, Response


@dataclass
class Tables:
    scope: str = "host"
    max_keys: int = 1000
    ttl: str = "10m"

    def open(self, runtime):
        self.runtime = runtime
        self.table = runtime.table("counts", self.max_keys, self.ttl, scope=self.scope)

    def __call__(self, request, next):
        _, action, key = request.path.split("/")
        return Response.from_json([os.getpid(), getattr(self, action)(key)])

    def incr(self, key):
        return self.table.incr(key)

    def add(self, key):
        return self.table.add(key, 1)

    def get(self, key):
        return self.table.get(key)

    def hold(self, seconds):
        with self.runtime.lock("one", "30s"):
            self.table.incr("inside")
            self.runtime.sleep(float(seconds))
            return self.table.incr("inside", -1)

    def stuck(self, ttl):
        self.runtime.lock("one", ttl).__enter__()
        time.sleep(0)

    def redis(self, command):
        return repr(self.runtime.redis.execute_command(command))

    def push(self, key):
        return self.runtime.redis.blpop([key], 0)
"""
INI = """
[server]
workers = {workers}
[gateway]
timeout = {timeout}
handlers = metrics, health
[handler:metrics]
[handler:health]
[handler:tables]
use = handlers:Tables
{options}
[route:all]
path = /
handlers = tables
respond = 404
[log]
access = log/access.log
{state}
"""


def running(folder, workers=3, options="", timeout="10s", state="", **environ):
    folder.mkdir(exist_ok=True)
    (folder / "handlers.py").write_text(HANDLERS)
    texts = {"{workers}": str(workers), "{options}": options, "{timeout}": timeout, "{state}": state}
    ini = INI
    for name, text in texts.items():
        ini = ini.replace(name, text)
    return RunningGateway(ini, folder, environ=environ)


def result(gateway, path):
    answer = gateway.get(path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)[1]


def access(gateway):
    return (gateway.folder / "log/access.log").read_text()


def crowd(gateways, path, count):
    """The answers to so many requests to each gateway on many connections: the process, and the result."""
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(gateway.get, path) for _ in range(count) for gateway in gateways]
        return [tuple(json.loads(answer.result().body)) for answer in answers]


def test_sums_of_three_workers_are_exact_and_survive_reloads_and_kills(tmp_path):
    with running(tmp_path) as gateway:
        found = crowd([gateway], "/incr/all", 300)
        assert sorted(number for _, number in found) == [*range(1, 301)]
        assert len({process for process, _ in found}) == 3
        gateway.reload()
        assert sorted(number for _, number in crowd([gateway], "/incr/all", 50)) == [*range(301, 351)]
        before = gateway.workers
        for process in before:
            os.kill(process, signal.SIGKILL)
        eventually(lambda: len(gateway.workers) == 3 and not {*before} & {*gateway.workers}, "other workers")
        assert result(gateway, "/get/all") == 350


def test_a_table_outlives_the_only_worker(tmp_path):
    with running(tmp_path, workers=1) as gateway:
        assert result(gateway, "/incr/all") == 1
        (before,) = gateway.workers
        os.kill(before, signal.SIGKILL)
        eventually(lambda: gateway.workers and before not in gateway.workers, "another worker")
        assert result(gateway, "/incr/all") == 2


def test_one_of_many_requests_adds(tmp_path):
    with running(tmp_path) as gateway:
        assert sum(is_new for _, is_new in crowd([gateway], "/add/once", 60)) == 1


@pytest.mark.parametrize("scope", ["host", "redis"])
def test_a_full_table_drops_the_oldest_which_is_counted(tmp_path, scope):
    with ExitStack() as stack:
        url = stack.enter_context(RunningRedis(tmp_path)).url if scope == "redis" else ""
        state = f"[state]\nredis = {url}\ntimeout = 2s" if url else ""
        options = f"max_keys = 3\nscope = {scope}"
        gateway = stack.enter_context(running(tmp_path, options=options, state=state))
        for key in "abcde":
            assert result(gateway, f"/incr/{key}") == 1
        assert [result(gateway, f"/get/{key}") for key in "abcde"] == [None, None, 1, 1, 1]
        eventually(lambda: gateway.metric('gproxy_table_evictions_total{table="counts"}') == 2, "evictions counted")


@pytest.mark.parametrize("scope", ["host", "redis"])
def test_an_entry_ends_at_its_ttl(tmp_path, scope):
    with ExitStack() as stack:
        url = stack.enter_context(RunningRedis(tmp_path)).url if scope == "redis" else ""
        state = f"[state]\nredis = {url}\ntimeout = 2s" if url else ""
        gateway = stack.enter_context(running(tmp_path, options=f"ttl = 500ms\nscope = {scope}", state=state))
        began = time.monotonic()
        while result(gateway, "/incr/short") > 1 or time.monotonic() - began < 0.5:
            assert time.monotonic() - began < 10
        assert time.monotonic() - began >= 0.5


def test_sums_of_two_gateways_with_one_redis_are_exact(tmp_path):
    with RunningRedis(tmp_path) as redis, ExitStack() as stack:
        state = f"[state]\nredis = {redis.url}\ntimeout = 5s"
        gateways = [
            stack.enter_context(running(tmp_path / name, 2, "scope = redis", state=state)) for name in ("one", "two")
        ]
        found = crowd(gateways, "/incr/all", 100)
        assert sorted(number for _, number in found) == [*range(1, 201)]
        assert len({process for process, _ in found}) >= 2
        redis.kill()
        rejected = gateways[0].get("/incr/all")
        assert rejected.status == 503 and rejected["retry-after"] == "1"
        eventually(lambda: "store_unavailable" in access(gateways[0]), "the reason in the access line")


def test_a_key_of_another_program_fails_alone(tmp_path):
    with RunningRedis(tmp_path) as redis:
        redis.ask("SET", "gproxy:{table:counts}", "mine")
        redis.ask("LPUSH", "gproxy:probe", "mine")
        with running(tmp_path, 1, "scope = redis", state=f"[state]\nredis = {redis.url}\ntimeout = 5s") as gateway:
            for _ in range(5):
                assert gateway.get("/incr/all").status == 500
            gateway.wait_for_line("RuntimeError: the key gproxy:{table:counts} in Redis is of another program: ")
            assert gateway.health()["store"]["state"] == "up"
            redis.ask("DEL", "gproxy:{table:counts}")
            assert result(gateway, "/incr/all") == 1
        assert gateway.errors.count("a key with the gateway's prefix is of another program: ") == 1
        assert "unavailable" not in gateway.errors


def test_a_command_for_redis_ends_at_the_deadline_though_its_client_left(tmp_path):
    with RunningRedis(tmp_path) as redis:
        state = f"[state]\nredis = {redis.url}\ntimeout = 2s"
        with running(tmp_path, 1, timeout="2s", state=state) as gateway:
            with gateway.connect() as wire:
                wire.send("GET /push/words HTTP/1.1\r\nHost: a\r\n\r\n")
                eventually(lambda: "blocked_clients:1" in redis.ask("INFO", "clients"), "the command to wait")
            assert result(gateway, "/redis/PING") == "True"
            eventually(lambda: "blocked_clients:0" in redis.ask("INFO", "clients"), "the end of the command")
            redis.ask("RPUSH", "words", "late")
            assert redis.ask("LLEN", "words").strip() == ":1"  # nobody takes it any more
            assert result(gateway, "/redis/PING") == "True"
            eventually(lambda: gateway.metric("gproxy_requests_in_flight") == 1, "the end of the request")


def test_the_scope_redis_needs_a_redis(tmp_path):
    with pytest.raises(AssertionError, match=r'handler:tables] table .counts.: scope "redis" needs the option redis'):
        running(tmp_path, options="scope = redis").__enter__()


def test_a_lock_admits_one_request_of_all_workers(tmp_path):
    with running(tmp_path) as gateway:
        found = crowd([gateway], "/hold/0.02", 30)
        assert {inside for _, inside in found} == {0}
        assert len({process for process, _ in found}) == 3


def test_a_lock_of_a_killed_worker_is_free_at_once(tmp_path):
    with running(tmp_path, workers=2) as gateway:
        process, _ = json.loads(gateway.get("/stuck/10m").body)
        os.kill(process, signal.SIGKILL)
        began = time.monotonic()
        assert result(gateway, "/hold/0") == 0
        assert time.monotonic() - began < 5


def test_a_lock_that_is_not_left_is_free_at_its_end(tmp_path):
    with running(tmp_path, workers=2) as gateway:
        began = time.monotonic()
        gateway.get("/stuck/1s")
        assert result(gateway, "/hold/0") == 0
        assert time.monotonic() - began >= 1


def test_a_wait_for_a_lock_ends_at_the_deadline_and_with_its_client(tmp_path):
    with running(tmp_path, workers=2, timeout="3s") as gateway:
        gateway.get("/stuck/10m")
        began = time.monotonic()
        assert gateway.get("/hold/0").status == 504
        assert 2.9 < time.monotonic() - began < 10
        with gateway.connect() as wire:
            wire.send("GET /hold/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda: gateway.metric("gproxy_requests_in_flight") > 1, "the request to wait")
        eventually(lambda: "status:499" in access(gateway), "the end of the request whose client left")


def test_commands_for_redis_end_at_the_deadline(tmp_path):
    with RunningRedis(tmp_path) as redis:
        state = f"[state]\nredis = {redis.url}\ntimeout = 2s"
        with running(tmp_path, 1, timeout="1s", state=state) as gateway:
            assert result(gateway, "/redis/PING") == "True"
            began = time.monotonic()
            assert gateway.get("/push/nothing").status == 504
            assert 0.9 < time.monotonic() - began < 5
            assert result(gateway, "/redis/PING") == "True"  # and not the late answer to another command
            pushed = threading.Timer(0.2, redis.ask, ["RPUSH", "words", "one"])
            pushed.start()
            answer = gateway.get("/push/words")
            pushed.join()
            assert answer.status == 500  # bytes are no JSON
            assert result(gateway, "/redis/PING") == "True"


def test_without_a_store_the_client_of_redis_is_an_error(tmp_path):
    with running(tmp_path, 1) as gateway:
        assert gateway.get("/redis/PING").status == 500
        gateway.wait_for_line("LookupError: runtime.redis needs the option redis in [state]")
