"""The error log, as text and as JSON: each line of a request has its id, and no line has a secret."""

import json

import pytest

from gproxy.testing.gateway import RunningGateway, eventually

HANDLERS = """
import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import gevent

from gproxy import Response
from gproxy.config.types import Secret

logging.getLogger("imported").warning("while it is imported")
library = logging.getLogger("a.library")


def pool():
    with ThreadPoolExecutor(1) as executor:
        executor.submit(library.warning, "in a pool").result()


def thread():
    started = threading.Thread(target=library.warning, args=("in a thread",))
    started.start()
    started.join()


WAYS = {
    "/plain": lambda: library.warning("in a handler"),
    "/spawn": lambda: gevent.spawn(library.warning, "in a greenlet").join(),
    "/nested": lambda: gevent.spawn(lambda: gevent.spawn(library.warning, "in two greenlets").join()).join(),
    "/thread": thread,
    "/pool": pool,
    "/later": lambda: gevent.spawn_later(0.2, library.warning, "after the end"),
    "/python": lambda: warnings.warn("old ways"),
}


@dataclass
class Logs:
    password: Secret

    def __call__(self, request, next):
        if request.path == "/fails":
            raise ValueError(f"no access with {self.password.reveal()}\\n2026-01-01 INFO forged")
        if request.path == "/hangs":
            while True:
                pass
        if request.path == "/own":
            library.warning("%s GET /own: by itself", request.id)
        if request.path in WAYS:
            WAYS[request.path]()
        return next(request)
"""

INI = """
[server]
{server}
[log]
errors = {errors}
[route:all]
path = /
handlers = logs
respond = 200
[handler:logs]
use = logging_handlers:Logs
password = {password}
"""
PASSWORD = "correct-horse-battery"


def gateway_with(folder, errors, server=""):
    (folder / "logging_handlers.py").write_text(HANDLERS)
    return RunningGateway(INI.format(errors=errors, password=PASSWORD, server=server), folder)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    with gateway_with(tmp_path_factory.mktemp("text"), "text") as running:
        yield running


@pytest.fixture(scope="module")
def json_log(tmp_path_factory):
    with gateway_with(tmp_path_factory.mktemp("json"), "json") as running:
        yield running


def objects(gateway):
    return [json.loads(line) for line in gateway.errors.splitlines()]


WAYS = {
    "/plain": "in a handler", "/spawn": "in a greenlet", "/nested": "in two greenlets", "/thread": "in a thread",
    "/pool": "in a pool", "/later": "after the end",
}  # fmt: skip


@pytest.mark.parametrize("path", WAYS)
def test_what_a_library_logs_for_a_request_begins_with_its_id(text, path):
    answer = text.get(path)
    assert text.wait_for_line(WAYS[path]).endswith(f" {answer['x-request-id']} {WAYS[path]}\n")


def test_an_id_that_is_there_already_is_not_repeated(text):
    answer = text.get("/own")
    assert f"] {answer['x-request-id']} GET /own: by itself" in text.wait_for_line("by itself")


def test_pythons_warnings_have_the_id(text):
    answer = text.get("/python")
    assert answer["x-request-id"] in text.wait_for_line("old ways")


@pytest.mark.parametrize("path", WAYS)
def test_a_line_of_json_has_request_route_and_handler(json_log, path):
    answer = json_log.get(path)
    line = json.loads(json_log.wait_for_line(WAYS[path]))
    assert (line["request_id"], line["route"], line["handler"]) == (answer["x-request-id"], "all", "logs")
    assert (line["logger"], line["level"], line["worker"], line["generation"]) == ("a.library", "warning", 1, 1)
    assert line["message"] == WAYS[path]


def test_a_traceback_is_one_line_without_the_secret(json_log):
    answer = json_log.get("/fails")
    assert answer.status == 500
    line = json.loads(json_log.wait_for_line("a handler failed"))
    assert line["request_id"] == answer["x-request-id"]
    assert line["exception"]["type"] == "ValueError"
    assert line["exception"]["message"] == "no access with ***\n2026-01-01 INFO forged"
    assert "in __call__: raise ValueError" in line["exception"]["stack"][-1]


def test_the_traceback_in_text_has_no_secret_either(text):
    text.get("/fails")
    text.wait_for_line("ValueError: no access with ***")
    assert PASSWORD not in text.errors


def test_all_lines_of_a_gateway_are_json(tmp_path):
    """Those of imports, of the arbiter, of a reload, of a worker that hangs, and of the stop too."""
    with gateway_with(tmp_path, "json", "worker_timeout = 1s") as gateway:
        gateway.reload()
        with gateway.connect() as wire:
            wire.send("GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n")
            gateway.wait_for_line("hung here")
        eventually(lambda: len(gateway.workers) == 1, "another worker")
        lines = objects(gateway)
    lines = objects(gateway)
    assert {"imported", "gproxy"} <= {line["logger"] for line in lines}
    (hung,) = (line for line in lines if "hung here" in line["message"])
    assert (hung["worker"], hung["generation"]) == (1, 2)
    assert any("logging_handlers.py" in frame for frame in hung["stack"])
    (blocked,) = (line for line in lines if "has blocked" in line["message"])
    assert (blocked["worker"], blocked["handler"], blocked["route"]) == (1, "logs", "all")
    assert blocked["message"].startswith(blocked["request_id"])
