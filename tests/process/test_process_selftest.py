"""`[server] selftest`: a new generation answers as expected before it serves, and nobody counts its test."""

import re
import sys

import forked
import pytest

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually

SETTINGS = """
[admin]
bind = unix:{tmp}/admin.sock
[server]
selftest =
    GET /health 200
    POST /limited 200
    GET http://app.test/ 200,401   ; through the backend
    greeting:selftest
[gateway]
handlers = health, metrics
[handler:limit]
use = rate_limit
limit = 2/hour
[handler:greet]
use = greeting:greet
[route:limited]
path = /limited
handlers = limit
respond = 200
[route:app]
host = app.test
upstream = app
[route:all]
path = /
handlers = greet
respond = 204
[upstream:app]
backends = {url}
"""
CODE = """
import os
from gproxy import Response

def greet(request, next):
    return %s

def selftest(ask):
    response = ask("GET", "/greeting", {"X-Name": "you"})
    assert response.status == 200, response.body.decode()
    assert response.read() in (b"one", b"two")
    response = ask("POST", "http://app.test/", body=b"question")
    assert response.read() == b"answer"
"""
GOOD = 'Response(200, b"one")'


@pytest.fixture
def backend():
    with Backend(answering(body=b"answer")) as one:
        yield one


@pytest.fixture
def start(tmp_path, backend):
    def starting(code=GOOD):
        (tmp_path / "greeting.py").write_text(CODE % code)
        return RunningGateway(SETTINGS.replace("{url}", backend.url), tmp_path)

    return starting


def reload(gateway):
    eventually((gateway.folder / "admin.sock").exists, "the admin listener")
    done = forked.run(
        [sys.executable, "-m", "gproxy", "reload", "--config", str(gateway.config)], capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_a_generation_that_passes_serves(start, tmp_path, backend):
    with start() as gateway:
        assert "selftest" not in gateway.errors
        assert len(backend.requests) == 2
        (tmp_path / "greeting.py").write_text(CODE % 'Response(200, b"two")')
        assert reload(gateway) == (0, "reloaded: generation 2 serves\n")
        assert gateway.get("/").body == b"two"
        assert len(backend.requests) == 4


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "app.test/ 200,401",
            "app.test/ 204,401",
            ":8: [server] selftest: GET http://app.test/ 204,401 answered 200; expected 204, 401",
        ),
        ("respond = 200", "respond = 201", ":7: [server] selftest: POST /limited 200 answered 201; expected 200"),
    ],
)
def test_a_request_with_another_status_fails_the_reload_with_its_line(start, old, new, reason):
    with start() as gateway:
        gateway.config.write_text(gateway.config.read_text().replace(old, new))
        status, printed = reload(gateway)
        assert status == 1
        assert f"{gateway.config}{reason}" in printed
        assert gateway.get("/").body == b"one"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("Response(200, b'three')", r"failed: assert response\.read\(\) in \(b\"one\", b\"two\"\) \(\S+greeting\.py:11\)"),
        ("Response(404, b'gone')", r"failed: gone \(\S+greeting\.py:10\)"),
        ("1 / 0", r"failed: \{\"status\": 500.*\} \(\S+greeting\.py:10\)"),
        ("os._exit(3)", r"worker 1 .* exited with status 3 during the self-test"),
    ],
)  # fmt: skip
def test_a_function_that_fails_fails_the_reload_with_its_line_and_the_users(start, tmp_path, code, reason):
    with start() as gateway:
        (tmp_path / "greeting.py").write_text(CODE % code)
        status, printed = reload(gateway)
        assert status == 1
        assert "os._exit" in code or f"{gateway.config}:9: [server] selftest: greeting:selftest failed" in printed
        assert re.search(reason, printed)
        assert gateway.get("/").body == b"one"
        assert "reload failed; generation 1 keeps serving" in gateway.errors


def test_a_call_of_c_code_that_lets_no_thread_run_ends_in_time_too(start, tmp_path):
    with start() as gateway:
        gateway.config.write_text(gateway.config.read_text().replace("[server]\n", "[server]\nworker_timeout = 0s\n"))
        (tmp_path / "greeting.py").write_text(f"{CODE % GOOD}    __import__('re').match('(a|a)+$', 'a' * 60 + 'b')\n")
        status, printed = reload(gateway)
        assert status == 1
        assert re.search(r"worker 1 .* exited with status 1 during the self-test", printed)
        assert "hung here:" in gateway.errors
        assert re.search(r'greeting\.py", line 14 in selftest', gateway.errors)
        assert gateway.get("/").body == b"one"


def test_a_failure_at_the_first_start_is_a_warning(start):
    with start("Response(404, b'gone')") as gateway:
        line = gateway.wait_for_line("greeting:selftest failed: gone")
        assert "WARNING" in line
        assert f"{gateway.config}:9: [server] selftest" in line
        assert gateway.get("/").status == 404


def test_metrics_limits_and_the_access_log_do_not_count_it(start, tmp_path):
    with start() as gateway:
        assert [gateway.get("/limited", method="POST").status for _ in range(2)] == [200, 200]
        assert reload(gateway)[0] == 0
        assert gateway.get("/limited", method="POST").status == 429  # counts go on over the reload
        assert gateway.metric('gproxy_requests_total{reason="",route="limited",status="200"}') == 2
        assert gateway.metric('gproxy_requests_total{reason="rate_limited",route="limited",status="429"}') == 1
        assert gateway.metric('gproxy_rate_limited_total{handler="limit"}') == 1
        assert gateway.metric('gproxy_requests_total{reason="",route="app",status="200"}') == 0
        assert {line["path"] for line in gateway.access(3)} == {"/limited", "/metrics"}
