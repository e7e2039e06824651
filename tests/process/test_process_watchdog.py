"""A handler that blocks the event loop is named, with its request and line; a busy or stopped machine blames no one."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from gproxy.testing.gateway import RunningGateway, eventually

HANDLERS = """
import ctypes
import re
import time
from dataclasses import dataclass

import gevent

from gproxy import Response

sleep_in_c = ctypes.CDLL(None).usleep


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass  # COMPUTES


def digest(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass  # DIGESTS


def blocks(request, next):
    how, _, milliseconds = request.query.partition("=")
    if how == "compute":
        compute(int(milliseconds) / 1000)
    elif how == "sleep":
        sleep_in_c(int(milliseconds) * 1000)  # SLEEPS
    elif how == "pattern":
        for size in range(20, 40):
            began = time.thread_time()
            re.match("(a+)+$", "a" * size + "b")  # MATCHES
            if time.thread_time() - began > int(milliseconds) / 1000:
                break
    elif how == "spawn":
        gevent.spawn(digest, int(milliseconds) / 1000).join()
    return next(request)


@dataclass
class Twin:
    name: str = ""

    def __call__(self, request, next):
        if request.query == self.name:
            compute(0.3)
        return next(request)


class Background:
    def open(self, runtime):
        runtime.spawn(self.refresh)

    def refresh(self):
        gevent.sleep(0.5)
        compute(0.3)

    def __call__(self, request, next):
        return next(request)
"""

INI = """
[server]
{options}
[route:block]
path = /
handlers = {handlers}, metrics
respond = 200
[handler:metrics]
use = metrics
[handler:blocks]
use = blocking:blocks
[handler:one]
use = blocking:Twin
name = one
[handler:two]
use = blocking:Twin
name = two
"""
BACKGROUND = """
[handler:background]
use = blocking:Background
"""


def gateway_with(folder, options="", handlers="blocks, one, two", more=""):
    (folder / "blocking.py").write_text(HANDLERS)
    return RunningGateway(INI.format(options=options, handlers=handlers) + more, folder)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with gateway_with(tmp_path_factory.mktemp("watchdog")) as running:
        yield running


def line_of(mark):
    """The line of the handlers' file that has this mark."""
    return next(number for number, line in enumerate(HANDLERS.splitlines(), 1) if mark in line)


def report_of(gateway, answer):
    return gateway.wait_for_line(f"{answer['x-request-id']} GET")


@pytest.mark.parametrize(
    ("how", "mark"), [("compute", "COMPUTES"), ("sleep", "SLEEPS"), ("pattern", "MATCHES")], ids=lambda value: value
)
def test_a_handler_that_blocks_is_named_with_its_request_and_line(gateway, how, mark):
    answer = gateway.get(f"/{how}?{how}=300")
    line = report_of(gateway, answer)
    found = re.search(
        rf"WARNING .* GET /{how}: handler blocks has blocked worker 1 for (\d+) ms \(blocking\.py:(\d+)\)", line
    )
    assert found, line
    assert int(found[1]) >= 100
    # What computes is a loop of two lines, and either may be the one that runs.
    assert int(found[2]) in ((line_of(mark) - 1, line_of(mark)) if how == "compute" else (line_of(mark),))
    assert gateway.errors.count(f"{answer['x-request-id']} GET") == 1


def test_a_greenlet_that_a_handler_spawns_is_traced_to_its_request(gateway):
    line = report_of(gateway, gateway.get("/spawned?spawn=300"))
    assert "GET /spawned: handler blocks has blocked worker 1" in line


def test_the_stack_is_below_the_line_without_frames_of_the_gateway(tmp_path):
    with gateway_with(tmp_path) as gateway:
        report_of(gateway, gateway.get("/stack?sleep=300"))
        eventually(lambda: "in blocks: sleep_in_c(" in gateway.errors, "the stack")
        assert "server/connection.py" not in gateway.errors


def test_of_two_handlers_of_one_class_the_right_one_is_named(gateway):
    assert "handler two has blocked" in report_of(gateway, gateway.get("/twins?two"))
    assert "handler one has blocked" in report_of(gateway, gateway.get("/twins?one"))


def test_short_work_is_no_block(gateway):
    for _ in range(5):
        answer = gateway.get("/short?compute=50")
        assert answer.status == 200
        assert answer["x-request-id"] not in gateway.errors


def blocked(gateway, route="block", handler="blocks"):
    return gateway.metric(f'gproxy_hub_blocked_total{{handler="{handler}",route="{route}"}}')


def test_blocks_are_counted_by_handler_and_route_and_reported_once_in_ten_seconds(tmp_path):
    with gateway_with(tmp_path, "block_log = 10ms") as gateway:
        for _ in range(30):
            assert gateway.get("/often?sleep=25").status == 200
        eventually(lambda: blocked(gateway) >= 25, "the counts")
        assert gateway.metric('gproxy_hub_blocked_seconds_total{handler="blocks",route="block"}') > 0.3
        assert gateway.metric("gproxy_hub_lag_seconds_count") > 30
        assert gateway.errors.count("handler blocks has blocked") == 1


def test_the_arbiter_logs_a_block_that_lasts_and_the_worker_its_total(tmp_path):
    secret = "correct-horse-battery"
    with gateway_with(tmp_path, more=f"[trace]\ntiming_token = {secret}\n") as gateway:
        thread = threading.Thread(target=gateway.get, args=(f"/{secret}?sleep=1900",))
        thread.start()
        line = gateway.wait_for_line("GET /***: handler blocks has blocked worker 1 for 1")
        assert "WARNING gproxy " in line  # without the process id of a worker
        assert thread.is_alive()
        thread.join()
        assert re.search(
            r"WARNING gproxy\[\d+\] \w+ worker 1 runs again after [12]\.\d s", gateway.wait_for_line("runs again")
        )
        assert gateway.errors.count("has blocked") == 1


def test_a_block_outside_of_requests_is_named_by_its_handler(tmp_path):
    with gateway_with(tmp_path, handlers="background", more=BACKGROUND) as gateway:
        line = gateway.wait_for_line("has blocked")
        assert " handler background has blocked worker 1 for" in line


def test_a_process_that_was_stopped_blames_no_handler(tmp_path):
    with gateway_with(tmp_path) as gateway:
        (worker,) = gateway.workers
        ends = threading.Event()

        def load():
            while not ends.is_set():
                gateway.get("/load?compute=10")

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            os.kill(worker, signal.SIGSTOP)
            time.sleep(0.3)
            os.kill(worker, signal.SIGCONT)
            assert gateway.get("/between").status == 200
        ends.set()
        for thread in threads:
            thread.join()
        assert "has blocked" not in gateway.errors


def test_a_gateway_that_was_paused_as_a_whole_keeps_its_workers(tmp_path):
    more = f"[admin]\nbind = unix:{tmp_path}/admin.sock\n"
    with gateway_with(tmp_path, "workers = 2\nworker_timeout = 2s", more=more) as gateway:
        gateway.wait_for_line("monitor: serves")
        workers, arbiter = gateway.workers, gateway.process.pid
        everyone = [arbiter, *map(int, Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split())]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.5)
        assert gateway.get("/between").status == 200
        assert gateway.workers == workers
        assert "no heartbeat" not in gateway.errors


def test_without_block_log_there_is_neither_a_thread_nor_a_report(gateway, tmp_path):
    with gateway_with(tmp_path, "block_log = 0s") as off:
        assert off.get("/off?sleep=250").status == 200
        assert threads_of(off) == threads_of(gateway) - 1
        assert "has blocked" not in off.errors


def threads_of(gateway):
    (worker,) = gateway.workers
    return len(os.listdir(f"/proc/{worker}/task"))
