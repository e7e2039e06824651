"""The metrics that alerts need: reloads, certificates, descriptors, CPU time, and counters that begin with 0."""

import os
import platform
import signal
import socket
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gproxy import __version__, is_compiled
from gproxy.config.certificates import _leaf
from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

INI = """
[server]
workers = WORKERS
[gateway]
handlers = metrics
[route:users]
path = /users
upstream = users
[route:teapot]
path = /teapot
respond = 418
[route:moved]
path = /moved
redirect = https://a.test
status = 301
[upstream:users]
backends = URL
[log]
access = off
"""


def running(folder, *arguments, workers=1, url="http://127.0.0.1:1", more=""):
    return RunningGateway(INI.replace("WORKERS", str(workers)).replace("URL", url) + more, folder, *arguments)


def figures(gateway):
    page = gateway.get("/metrics").body.decode()
    return {
        (sample.name.removeprefix("gproxy_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def reloads(gateway):
    """Return generation, good reloads, bad reloads, whether the last one was good, and when."""
    found = figures(gateway)
    names = ("generation",), ("reloads_total", "success"), ("reloads_total", "failure"), ("last_reload_successful",)
    return [*(found[name] for name in names), found[("last_reload_success_timestamp_seconds",)]]


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_are_counted_and_the_last_one_is_known(tmp_path, workers):
    began = time.time()
    with running(tmp_path, workers=workers) as gateway:
        *start, started = reloads(gateway)
        assert start == [1, 0, 0, 1]
        assert began < started < time.time()

        gateway.signal(signal.SIGHUP)
        gateway.wait_for_line("reloaded: generation 2")
        eventually(lambda: reloads(gateway)[:4] == [2, 1, 0, 1], "the reload")
        *_, reloaded = reloads(gateway)
        assert started < reloaded < time.time()

        gateway.config.write_text("nonsense")
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_line("reload failed; generation 2 keeps serving")
        eventually(lambda: reloads(gateway) == [2, 1, 1, 0, reloaded], "the failure")

        for pid in gateway.workers:
            os.kill(pid, signal.SIGKILL)
        gateway.wait_for_line("was killed by SIGKILL")
        eventually(lambda: reloads(gateway) == [2, 1, 1, 0, reloaded], "the same from other workers")
        eventually(lambda: len(gateway.workers) == workers, "all workers")


def test_the_end_of_a_certificate_follows_its_file(tmp_path):
    authority = Authority(tmp_path)
    paths = {name: authority.issue(name, days=(-1, days))[0] for name, days in (("a.test", 1), ("b.test", 5))}
    sections = "".join(f"[tls:{name[0]}]\ncertificate = {name}.crt\nkey = {name}.key\n" for name in paths)
    with running(tmp_path, "--bind", f"127.0.0.1:{free_port()} tls", workers=2, more=sections) as gateway:

        def is_right():
            found = figures(gateway)
            return all(
                found["certificate_expires_seconds", name[0]] == _leaf(path).not_valid_after_utc.timestamp()
                for name, path in paths.items()
            )

        eventually(is_right, "the ends of both")
        authority.issue("a.test", days=(-1, 9))
        eventually(is_right, "the end of the renewed one")


@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_has_its_descriptors_and_cpu_time(tmp_path, workers):
    with running(tmp_path, workers=workers) as gateway:
        names = [(name, str(n + 1)) for n in range(workers) for name in ("open_fds", "worker_cpu_seconds_total")]
        eventually(lambda: {*names} <= {*figures(gateway)}, "all workers")
        found = figures(gateway)
        assert all(5 < found["open_fds", str(n + 1)] < 60 for n in range(workers))
        used = sum(found["worker_cpu_seconds_total", str(n + 1)] for n in range(workers))
        actual = sum(map(cpu_seconds, gateway.workers))
        assert 0 < used <= actual + 0.02
        waiting = [gateway.connect() for _ in range(20 * workers)]
        eventually(
            lambda: sum(figures(gateway)["open_fds", str(n + 1)] for n in range(workers)) >= 20 * workers, "connections"
        )
        for wire in waiting:
            wire.sock.close()
        assert found["build_info", "yes" if is_compiled else "no", platform.python_version(), __version__] == 1


def cpu_seconds(pid):
    """Return the CPU time of a process, which the system rounds down to a hundredth of a second."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def test_counters_of_known_routes_begin_with_0(tmp_path):
    with Backend(answering(body=b"one")) as backend, running(tmp_path, url=backend.url) as gateway:
        before = figures(gateway)
        usual = [("", "200"), ("connect_refused", "502"), ("none_available", "503"), ("backend_timeout", "504")]
        assert all(before["requests_total", reason, "users", status] == 0 for reason, status in usual)
        assert before["requests_total", "fixed", "teapot", "418"] == before["requests_total", "", "moved", "301"] == 0
        for route in ("users", "teapot", "moved"):
            for name in ("request_bytes_total", "response_bytes_total", "retries_total"):
                assert before[name, route] == 0
            assert before["request_duration_seconds_count", route] == 0
        for path in ("/users", "/teapot", "/moved"):
            gateway.get(path)
        after = figures(gateway)
        assert after["requests_total", "", "users", "200"] == 1
        assert after["requests_total", "fixed", "teapot", "418"] == after["requests_total", "", "moved", "301"] == 1
        assert {key for key in after if key[0] == "requests_total"} == {
            key for key in before if key[0] == "requests_total"
        } | {("requests_total", "", "", "200")}


def test_the_requests_of_every_listener_count(tmp_path):
    inner, redirect = free_port(), free_port()
    more = f"[route:inner]\npath = /inner\nlistener = 127.0.0.1:{inner}\nrespond = 204\n"
    arguments = "--bind", f"127.0.0.1:{inner}", "--bind", f"127.0.0.1:{redirect} redirect"
    with running(tmp_path, *arguments, more=more) as gateway:
        for port, status in ((inner, 204), (redirect, 308)):
            with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
                wire.send("GET /inner HTTP/1.1\r\nHost: a\r\n\r\n")
                assert wire.read_response().status == status
        counted = ("requests_total", "", "inner", "204"), ("requests_total", "", "redirect", "308")
        eventually(lambda: [figures(gateway).get(one) for one in counted] == [1, 1], "both requests in the metrics")
