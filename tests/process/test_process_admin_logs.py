"""The ends of the logs by the admin API: the file over its rotation, the lines of workers, the error log; the metrics."""

import json
import os
import re

import pytest
from admin_listener import Admin
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from gproxy.testing.gateway import eventually

#: A path full of markup, and a long one.
MARKUP = "/<script>alert(1)</script>&amp;'%22"
SERVER = "[server]\nworkers = 2\n"
METRICS = "[gateway]\nhandlers = metrics\n"
FAILING = "[route:fails]\npath = /fails\nhandlers = fails\nrespond = 200\n[handler:fails]\nuse = own:fails\n"
OWN = "def fails(request, next):\n    raise RuntimeError('on purpose')\n"


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    (folder / "own.py").write_text(OWN)
    with Admin(folder, SERVER + METRICS + FAILING, log="fields = default, query") as admin:
        yield admin


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """A gateway without an access log."""
    with Admin(tmp_path_factory.mktemp("silent"), SERVER) as admin:
        yield admin


class Following:
    """A client that follows a log."""

    def __init__(self, admin, query):
        self._wire = admin.unix()
        self._wire.send(f"GET /v1/logs?{query} HTTP/1.1\r\nHost: any\r\n\r\n")
        self.head = self._wire.read_until(b"\r\n\r\n")
        self._text = b""
        self._events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._wire.sock.close()

    def next(self):
        """The next entry."""
        while not self._events:
            size = int(self._wire.read_until(b"\r\n"), 16)
            assert size, "the stream has ended"
            self._text += self._wire.read_exactly(size + 2)[:-2]
            *events, self._text = self._text.split(b"\n\n")
            self._events += [json.loads(one.removeprefix(b"data: ")) for one in events if one.startswith(b"data: ")]
        return self._events.pop(0)

    def next_of(self, text):
        """The next entry with this text."""
        while text not in (found := json.dumps(self.next())):
            pass
        return json.loads(found)


def entries(admin, query):
    return json.loads(admin.ask_unix(f"GET /v1/logs?{query}").body)["entries"]


def test_the_end_of_the_access_log_is_that_of_its_file(admin):
    for number in range(5):
        admin.gateway.get(f"/end/{number}?key=hidden-query")
    lines = (admin.gateway.folder / "log" / "access.log").read_text
    eventually(lambda: "/end/4" in lines(), "the lines in the file")
    found = [entry["line"] for entry in entries(admin, "source=access&lines=3")]
    assert found == [
        line.replace("hidden-query", "x").replace("query:key=x", "query:***") for line in lines().splitlines()[-3:]
    ]
    assert entries(admin, "source=access&lines=0") == []


def test_without_lines_a_client_gets_no_earlier_entry(admin):
    admin.gateway.get("/earlier")
    admin.ask("DELETE /v1/nothing", token="wrong", source="127.0.0.8")
    eventually(lambda: entries(admin, "source=error"), "a record of the error log")
    assert entries(admin, "source=error&lines=0") == []
    log = admin.gateway.folder / "log" / "access.log"
    eventually(lambda: "/earlier" in log.read_text(), "the line")
    with Following(admin, "source=access&follow&lines=0") as following:
        admin.gateway.get("/later")
        assert "/later" in following.next()["line"]


def test_a_pipe_as_access_log_is_not_read_but_the_workers_send_their_lines(tmp_path):
    pipe = tmp_path / "access.pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    try:
        with Admin(tmp_path, SERVER, log=f"access = {pipe}") as admin:
            answer = admin.ask_unix("GET /v1/logs?source=access")
            assert answer.status == 409
            assert "no file that keeps its lines; add follow" in json.loads(answer.body)["detail"]
            with Following(admin, "source=access&follow") as following:
                admin.gateway.get("/piped")
                assert "/piped" in following.next_of("/piped")["line"]
    finally:
        os.close(reader)


def test_a_file_that_cannot_be_read_is_a_clear_error_also_for_who_follows(tmp_path):
    loop = tmp_path / "loop.log"
    with Admin(tmp_path, SERVER, log=f"access = {loop}") as admin:
        loop.unlink(missing_ok=True)
        loop.symlink_to(loop)
        for query in ("source=access", "source=access&follow"):
            answer = admin.ask_unix(f"GET /v1/logs?{query}")
            assert (answer.status, "loop.log cannot be read" in json.loads(answer.body)["detail"]) == (500, True)


def test_a_client_follows_the_access_log_over_its_rotation(admin):
    log = admin.gateway.folder / "log" / "access.log"
    admin.gateway.get("/before")
    eventually(lambda: "/before" in log.read_text(), "the line")
    with Following(admin, "source=access&follow&lines=1") as following:
        assert "/before" in following.next()["line"]
        admin.gateway.get("/first")
        assert "/first" in following.next()["line"]
        os.rename(log, log.with_name("access.log.1"))
        admin.gateway.get("/second")
        assert "/second" in following.next()["line"]
        admin.gateway.signal(10)  # USR1
        eventually(log.exists, "the new file")
        admin.gateway.get("/third")
        assert "/third" in following.next()["line"]


@pytest.mark.parametrize("source", ["tap", "access"])
def test_without_a_file_the_workers_send_their_lines_while_a_client_follows(silent, source):
    with Following(silent, f"source={source}&follow") as following:
        assert b"text/event-stream" in following.head
        silent.gateway.get("/tapped?key=hidden-query")
        entry = following.next_of("/tapped")
        assert "hidden-query" not in entry["line"]
        assert entry["worker"] in {1, 2}


def test_the_error_log_has_changes_by_operators(admin):
    def is_logged():  # one request of strangers a second is
        admin.ask("DELETE /v1/nothing", token="wrong", source="127.0.0.9")
        found[:] = entries(admin, "source=error")
        return any("rejected DELETE /v1/nothing by 127.0.0.9" in entry["message"] for entry in found)

    found = []
    eventually(is_logged, "the record of the rejected change")
    assert {"time", "level", "logger", "message", "pid"} <= set(found[-1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", found[-1]["time"])


def test_the_error_log_has_the_failures_of_handlers_with_their_requests(admin):
    with Following(admin, "source=error&follow&lines=0") as following:
        answer = admin.gateway.get("/fails?key=hidden-query")
        entry = following.next_of("a handler failed")
    assert (answer.status, entry["level"], entry["worker"] in {1, 2}, entry["generation"]) == (500, "error", True, 1)
    assert entry["request_id"] == json.loads(answer.body)["request_id"]
    assert entry["exception"]["type"] == "RuntimeError"
    assert any("own.py" in frame for frame in entry["exception"]["stack"])
    assert "hidden-query" not in json.dumps(entry)


def test_text_of_clients_is_shown_as_text(admin):
    long = "/" + "a" * 7000
    for path in (MARKUP, long):
        admin.gateway.get(path, f"User-Agent: {MARKUP}\x1b[31m")
    found = ""

    def is_there():
        nonlocal found
        answer = admin.ask_unix("GET /v1/logs?source=access")
        assert answer["content-type"] == "application/json"
        found = answer.body.decode()
        return "aaaaaa" in found

    eventually(is_there, "the lines")
    assert "\x1b" not in found
    assert "<script>alert(1)</script>" in "".join(entry["line"] for entry in json.loads(found)["entries"])


@pytest.mark.parametrize(
    ("accept", "parse"), [("text/plain", prometheus), ("application/openmetrics-text; version=1.0.0", openmetrics)]
)
def test_the_metrics_need_no_handler_and_equal_its_page(admin, accept, parse):
    admin.gateway.get("/counted")
    ours = admin.ask_unix("GET /metrics", f"Accept: {accept}")
    theirs = admin.gateway.get("/metrics", f"Accept: {accept}")
    assert ours["content-type"] == theirs["content-type"]

    def names(page):
        return {sample.name for family in parse(page.body.decode()) for sample in family.samples}

    assert names(ours) == names(theirs)


def test_metrics_count_without_any_handler(silent):
    silent.gateway.get("/counted")

    def count():
        families = prometheus(silent.ask_unix("GET /metrics").body.decode())
        return sum(sample.value for one in families for sample in one.samples if sample.name == "gproxy_requests_total")

    before = count()
    silent.gateway.get("/counted")
    eventually(lambda: count() == before + 1, "the request in the metrics")
