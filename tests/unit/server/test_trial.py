"""The worker of a self-test: it opens and closes the gateway around the test, and reports without secrets."""

import socket

from gproxy.arbiter.control import Control
from gproxy.arbiter.messages import NOTICES, Judged
from gproxy.gateway.build import build, load
from gproxy.runtime import Runtime
from gproxy.server.trial import run_trial

SETTINGS = """
[server]
selftest =
    GET /fine 204
    GET /fine?key=secret 404
[route:fine]
path = /fine
respond = 204
"""


def test_the_result_is_reported_with_secrets_masked(tmp_path):
    (tmp_path / "g.ini").write_text(SETTINGS)
    settings = load(tmp_path / "g.ini")
    runtime = Runtime.of(settings)
    runtime.set_apart()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run_trial(Control(ours, {}), settings, build(settings, runtime), lambda text: text.replace("secret", "***"))
        (judged,) = Control(theirs, NOTICES).receive()
    what = "GET /fine?key=*** 404 answered 204; expected 404"
    assert judged == Judged([f"{tmp_path}/g.ini:5: [server] selftest: {what}"])


def test_limits_of_a_runtime_set_apart_do_not_count_in_the_store(tmp_path):
    (tmp_path / "g.ini").write_text(f"{SETTINGS}\n[state]\nredis = redis://127.0.0.1:1\n")
    runtime = Runtime.of(load(tmp_path / "g.ini"))
    assert runtime.store is not None
    runtime.set_apart()
    limiter = runtime.limiter("a", 10)
    assert type(limiter).__name__ == "HandoverLimiter"
    assert runtime.store.trips == 0
