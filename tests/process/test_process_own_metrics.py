"""Metrics over workers, with a monitor: those of handlers, after a kill, and with any names of clients."""

import os
import signal
import sys

import forked
import pytest

from gproxy.testing.gateway import RunningGateway, eventually

HANDLERS = """
from dataclasses import dataclass


@dataclass
class Orders:
    name: str = "orders_total"

    def open(self, runtime):
        self._orders = runtime.counter(self.name, ["kind"], "orders")
        self._sizes = runtime.histogram("order_bytes", [], "sizes", buckets=(10, 100))

    def __call__(self, request, next):
        self._orders.add(1, request.path.rpartition("/")[2])
        self._sizes.observe(50)
        return next(request)
"""
INI = """
[server]
workers = WORKERS
[gateway]
handlers = metrics
[admin]
bind = unix:FOLDER/admin.sock
[handler:metrics]
[handler:orders]
use = handlers:Orders
[route:orders]
path = /orders
handlers = orders
respond = 200
[route:rest]
path = /rest
respond = 200
[log]
access = off
"""

ANSWERED = 'gproxy_requests_total{reason="",route="orders",status="200"}'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


def running(folder, workers):
    return RunningGateway(INI.replace("WORKERS", str(workers)).replace("FOLDER", str(folder)), folder)


def samples(gateway):
    """Return the samples of the page, without the times of handlers, of which each 128th request is measured."""
    page = gateway.get("/metrics").body.decode()
    return [line for line in page.splitlines() if not line.startswith(("#", "gproxy_handler_duration"))]


def test_metrics_of_a_handler_add_up_over_workers_and_survive_a_kill(folder):
    with running(folder, 2) as gateway:
        for number in range(150):
            assert gateway.get(f"/orders/{number}").status == 200
        own = [line for line in samples(gateway) if line.startswith("orders_total{")]
        assert len(own) == 101
        assert sum(float(line.split()[1]) for line in own) == 150
        assert gateway.metric('orders_total{kind="other"}') == 50
        assert gateway.metric("order_bytes_count") == 150
        before = set(gateway.workers)
        os.kill(min(before), signal.SIGKILL)
        eventually(lambda: len(gateway.workers) == 2 and set(gateway.workers) != before, "another worker")
        assert gateway.metric("order_bytes_sum") == 150 * 50


def test_counts_of_a_single_worker_survive_a_kill_if_there_is_a_monitor(folder):
    with running(folder, 1) as gateway:
        for _ in range(5):
            gateway.get("/orders/a")
        eventually(lambda: gateway.metric(ANSWERED) == 5, "the count of the last request")
        (before,) = gateway.workers
        os.kill(before, signal.SIGKILL)
        gateway.wait_for_line("was killed by SIGKILL")
        eventually(lambda: gateway.workers and gateway.workers != [before], "another worker")
        assert gateway.metric('orders_total{kind="a"}') == 5
        assert gateway.metric(ANSWERED) == 5


def test_names_of_clients_make_no_series(folder):
    def send(number):
        gateway.ask(f"GET /rest/{number} HTTP/1.1\r\nHost: h{number}.test\r\nConnection: close\r\n\r\n")
        gateway.ask(f"GET /x{number} HTTP/1.1\r\nHost: h{number}.test\r\nConnection: close\r\n\r\n")
        gateway.ask(f"M{number} /rest HTTP/1.1\r\nHost: a\r\nUser-Agent: {number}\r\nConnection: close\r\n\r\n")
        gateway.ask(f"{number} nonsense\r\n\r\n")

    def answered():
        lines = [line for line in samples(gateway) if line.startswith("gproxy_requests_total")]
        return sum(float(line.split()[-1]) for line in lines if 'status="4' in line)

    with running(folder, 1) as gateway:
        send(1)
        eventually(lambda: answered() == 2, "the counts of the first requests")
        before = len(samples(gateway))
        for number in range(100, 200):
            send(number)
        eventually(lambda: answered() == 202, "the counts of all requests")
        assert len(samples(gateway)) == before


def test_a_bad_name_is_an_error_at_the_start(folder):
    text = INI.replace("WORKERS", "1").replace("FOLDER", str(folder))
    (folder / "bad.ini").write_text(text.replace("use = handlers:Orders", "use = handlers:Orders\nname = orders"))
    command = [sys.executable, "-m", "gproxy", "--config", "bad.ini", "--bind", "unix:bad.sock"]
    done = forked.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "[handler:orders] metric 'orders': expected a counter's name to end with _total" in done.stderr
