"""Limits that hold over machines: real gateways and a real Redis, which is killed, frozen and brought back."""

import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import forked
import pytest

from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.testing.redis import RunningRedis

INI = """
[gateway]
handlers = metrics, health, rate_limit, respond
timeout = {deadline}
[handler:metrics]
[handler:health]
cache = 0s
[handler:rate_limit]
limit = 100/hour
key = header:X-User
[handler:respond]
body = fine
[route:all]
upstream = nobody
[upstream:nobody]
backends = http://127.0.0.1:9
[log]
access = log/access.log
[state]
redis = ${REDIS}
timeout = {timeout}
"""


@contextmanager
def gateways(folder, url, state="", count=1, deadline="10s", timeout="1s"):
    with ExitStack() as stack:
        found = []
        for number in range(count):
            place = folder / f"machine{number}"
            place.mkdir()
            ini = INI.replace("{deadline}", deadline).replace("{timeout}", timeout) + state
            found.append(stack.enter_context(RunningGateway(ini, place, environ={"REDIS": url})))
        yield found


@pytest.fixture
def server(tmp_path):
    with RunningRedis(tmp_path) as server:
        yield server


def ask(gateway, user="alice"):
    return gateway.get("/", f"X-User: {user}")


def statuses(gateway, count, user="alice"):
    """On one connection."""
    with gateway.connect() as wire:
        for _ in range(count):
            wire.send(f"GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n")
            yield wire.read_response().status


def left(answer):
    return int(re.search(r";r=(\d+)", answer["ratelimit"])[1])


def metric(gateway, name):
    page = gateway.get("/metrics").body.decode()
    return float(re.search(rf"^gproxy_store_{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)[1])


def store(gateway):
    return gateway.health()["store"]["state"]


def is_back(gateway):
    eventually(lambda: store(gateway) == "up", "Redis found again")
    gateway.wait_for_line("available again after")  # it may be on its way


def crowd(machines, each, threads=4):
    """The statuses that so many clients, all of them alice, got from all machines at the same time."""
    with ThreadPoolExecutor(threads * len(machines)) as pool:
        results = [pool.submit(lambda m=machine: [*statuses(m, each)]) for machine in machines for _ in range(threads)]
        return [status for result in results for status in result.result()]


def test_a_hundred_pass_on_two_machines_together(tmp_path, server):
    with gateways(tmp_path, server.url, count=2) as machines:
        assert sorted(crowd(machines, 40)) == [200] * 100 + [429] * 220
        asked = server.calls("evalsha")
        assert 320 <= asked <= 326  # and to find out whether it is there
        assert server.calls("eval") <= 16  # by each that came before the first was known
        assert server.calls("set") == 102 or server.calls("set") == 101
        assert metric(machines[0], "failures_total") == 0
        assert metric(machines[0], "up") == 1
        assert 160 <= metric(machines[0], "round_trips_total") <= 163
        refused = ask(machines[1])
        assert refused.status == 429 and 3500 < int(refused["retry-after"]) <= 3600
        assert ask(machines[0], "bob").status == 200


def test_a_lease_cuts_round_trips_tenfold_and_never_lets_one_more_pass(tmp_path, server):
    with gateways(tmp_path, server.url, "lease = 10", count=2) as machines:
        before = server.calls("evalsha")
        assert [*statuses(machines[0], 100)] == [200] * 100
        assert server.calls("evalsha") - before <= 1 + 10 + 1
        asked = server.calls("evalsha")
        assert {*statuses(machines[0], 50)} == {429}
        assert server.calls("evalsha") - asked <= 1  # it knows until when nobody can be admitted

        passed = 0
        for user in range(10):
            with ThreadPoolExecutor(2) as pool:
                parts = pool.map(lambda m, u=user: [*statuses(m, 80, f"user{u}")].count(200), machines)
                both = sum(parts)
            assert 100 - 2 * 9 <= both <= 100
            passed += both
        assert passed > 900


def test_a_frozen_redis_costs_its_timeout_a_few_times_and_then_nothing(tmp_path, server):
    with gateways(tmp_path, server.url, timeout="500ms") as (machine,):
        assert left(ask(machine)) == 99
        server.freeze()
        began = time.monotonic()
        assert left(ask(machine, "bob")) == 99
        assert 0.45 < time.monotonic() - began < 3
        assert [*statuses(machine, 109)] == [200] * 100 + [429] * 9  # counted here, from nothing
        assert time.monotonic() - began < 10  # 55 s if each had waited
        assert store(machine) == "failing"
        assert machine.health()["status"] == "degraded"
        server.thaw()
        is_back(machine)
        # What was given up while it was frozen may have been counted when it thawed.
        assert left(ask(machine)) in {96, 97, 98}
        assert machine.errors.count("unavailable: no answer in time") == 1
        assert machine.errors.count("available again after") == 1
        assert "Traceback" not in machine.errors
        assert metric(machine, "failures_total") >= 3


def test_redis_is_killed_and_comes_back_empty(tmp_path, server):
    with gateways(tmp_path, server.url) as (machine,):
        assert [left(ask(machine)) for _ in range(3)] == [99, 98, 97]
        server.kill()
        assert {ask(machine).status for _ in range(10)} == {200}
        machine.wait_for_line("unavailable: Error 111 connecting to 127.0.0.1")
        server.start()
        is_back(machine)
        assert [left(ask(machine)) for _ in range(3)] == [99, 98, 97]
        assert machine.errors.count("unavailable: ") == machine.errors.count("available again after") == 1


def test_scripts_forgotten_and_connections_closed_by_redis_are_no_failure(tmp_path, server):
    with gateways(tmp_path, server.url, "on_failure = closed") as (machine,):
        assert left(ask(machine)) == 99
        server.ask("SCRIPT", "FLUSH")
        assert left(ask(machine)) == 98
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        assert left(ask(machine)) == 97
        assert metric(machine, "failures_total") == 0


def test_without_redis_the_workers_of_a_machine_count_together(tmp_path, server):
    server.kill()
    place = tmp_path / "machine"
    place.mkdir()
    ini = INI.replace("{deadline}", "10s").replace("{timeout}", "1s")
    with RunningGateway(ini, place, "--workers", "2", environ={"REDIS": server.url}) as machine:
        assert sorted(crowd([machine], 40)) == [200] * 100 + [429] * 60


def test_closed_refuses_until_it_is_back(tmp_path, server):
    server.kill()
    with gateways(tmp_path, server.url, "on_failure = closed\nlease = 5") as (machine,):
        machine.wait_for_line("limited requests get 503 until it returns")
        answer = machine.get("/", "X-User: alice", "Accept: application/json")
        assert answer.status == 503 and answer["retry-after"] == "1"
        assert answer["content-type"] == "application/problem+json"
        assert machine.line("/")["reason"] == "store_unavailable"
        server.start()
        is_back(machine)
        assert left(ask(machine)) == 99


def test_a_request_whose_time_is_up_leaves_no_answer_to_the_next(tmp_path, server):
    with gateways(tmp_path, server.url, "max_connections = 2", timeout="30s", deadline="300ms") as (machine,):
        assert [left(ask(machine)) for _ in range(5)] == [99, 98, 97, 96, 95]
        server.freeze()
        for _ in range(3):  # more than there are connections: all are given back
            answer = ask(machine)
            assert answer.status == 504
        server.thaw()
        assert left(ask(machine, "bob")) == 99
        assert left(ask(machine, "carol")) == 99
        assert left(ask(machine)) in {91, 92, 93, 94}
        assert {line["reason"] for line in machine.access(9) if line["status"] == "504"} == {"handler_timeout"}
        assert [left(ask(machine, "bob")) for _ in range(2)] == [98, 97]
        assert metric(machine, "failures_total") == 0


def test_a_wrong_password_is_told_without_it(tmp_path):
    with RunningRedis(tmp_path, "--requirepass", "right") as server:
        url = server.url.replace("//", "//:wr0ng-s3cret@")
        with gateways(tmp_path, url) as (machine,):
            line = machine.wait_for_line("unavailable: ")
            assert f"redis 127.0.0.1:{server.port} unavailable: " in line and "password" in line
            assert ask(machine).status == 200
            assert "wr0ng" not in machine.errors + machine.get("/health").body.decode()


def nonsense(listener):
    """Answer every command with valid RESP that no script of ours returns."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                words = [stream.read(int(stream.readline()[1:]) + 2) for _ in range(int(line[1:]))]
                connection.sendall(b"*2\r\n:1\r\n:1\r\n" if words[0].startswith(b"EVAL") else b"+OK\r\n")


def test_nonsense_is_a_failure_as_any_other(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=nonsense, args=[listener])
        thread.start()
        with gateways(tmp_path, f"redis://127.0.0.1:{listener.getsockname()[1]}") as (machine,):
            assert [ask(machine).status for _ in range(4)] == [200] * 4
            machine.wait_for_line("unavailable: the answer is not the script's result")
            assert (store(machine), machine.health()["status"]) == ("failing", "degraded")
            assert "Traceback" not in machine.errors
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_burst_that_refills_within_a_microsecond_is_no_failure_of_redis(tmp_path, server):
    unlimited = INI.replace("limit = 100/hour", "limit = 100000000/second\nburst = 5").replace("{deadline}", "10s")
    with RunningGateway(unlimited.replace("{timeout}", "5s"), tmp_path, environ={"REDIS": server.url}) as machine:
        assert [ask(machine).status for _ in range(4)] == [200] * 4
        assert (store(machine), machine.health()["store"]["failures"]) == ("up", 0)


def test_the_url_may_be_in_a_file_and_lead_to_a_unix_socket_with_a_password(tmp_path):
    with RunningRedis(tmp_path, "--requirepass", "right") as server:
        secret = tmp_path / "url"
        secret.write_text(f"unix://:right@{server.path}?db=3\n")
        secret.chmod(0o600)
        with gateways(tmp_path, f"file:{secret}", "prefix = mine:") as (machine,):
            assert [left(ask(machine)) for _ in range(2)] == [99, 98]
            assert store(machine) == "up"
            said = forked.run(
                [sys.executable, "-m", "gproxy", "explain", "--config", machine.config, "GET", "/"],
                env={"REDIS": f"file:{secret}"},
                capture_output=True,
                text=True,
                check=True,
            )
            assert (
                f"count in redis unix:{server.path}; while it is unavailable, each machine counts locally"
                in said.stdout
            )
            assert "right" not in said.stdout + said.stderr
