"""The watchdog with a real loop and a real thread, at a hundredth of the usual limit."""

import ctypes
import linecache
import logging
import time

import gevent
import pytest

from gproxy.http.request import request
from gproxy.introspection.current_request import CurrentRequest
from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.watchdog import HubWatchdog
from gproxy.runtime import Runtime

sleep_in_c = ctypes.CDLL(None).usleep


def blocks(request, next):
    return sleep_in_c(60_000)


@pytest.fixture
def runtime():
    made = Runtime(worker=3)
    linecache.getlines(__file__)
    made.metrics.wanted = True
    return made


@pytest.fixture
def watchdog(runtime):
    code = HandlerCode({"blocks": blocks})
    announced = []
    made = HubWatchdog(0.01, runtime, CurrentRequest(code, []), code, announced.append)
    made.start()
    yield made
    made.stop()


def value(runtime, name, *labels):
    return runtime.metrics.series(name, *labels).cells[0]


def until(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        gevent.sleep(0.01)
    assert condition()


def test_a_block_is_logged_once_with_its_stack_and_counted_each_time(watchdog, runtime, caplog):
    caplog.set_level(logging.WARNING, "gproxy")
    for count in (1, 2):
        gevent.sleep(0.03)
        blocks(request(), None)
        until(lambda count=count: value(runtime, "gproxy_hub_blocked_total", "blocks", "") == count)
    assert value(runtime, "gproxy_hub_blocked_seconds_total", "blocks", "") > 0.05
    (record,) = (one for one in caplog.records if "blocks" in one.getMessage())
    assert record.getMessage().startswith("test GET /: handler blocks has blocked worker 3 for ")
    assert "in blocks: return sleep_in_c(60_000)" in (record.stack_info or "")
    assert (record.origin.request_id, record.origin.handler) == ("test", "blocks")


def test_a_loop_that_only_waits_is_not_blocked(watchdog, runtime, caplog):
    lag = runtime.metrics.series("gproxy_hub_lag_seconds").cells
    until(lambda: sum(lag[1:]) >= 10)
    assert caplog.records == []


def test_a_stopped_watchdog_leaves_no_thread(watchdog):
    assert not watchdog._stopped.acquire(blocking=False)
