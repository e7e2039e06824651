"""What a user learns of rejected credentials, what is counted of them, and what neither a reload nor a crash loses."""

import os
import re
import signal
import sys
import threading
from contextlib import contextmanager

import forked
import pytest
from shipped import UNLIMITED, running, signed

from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.testing.issuer import Issuer

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
JWT = ("secret = auto", f"secret = {SECRET}\naudience = https://api.example\nmax_failures = 5/minute")
OBSERVED = ("handlers = compress, health,", "handlers = metrics, compress, health,")
DEBUG = ("[log]", "[log]\nlevel = debug")
TWO = ("workers = 1 ", "workers = 2 ")
PROXIED = ("trusted_proxies = ", "trusted_proxies = 127.0.0.1")


def token(**claims):
    return signed(SECRET, "HS256", **{"aud": "https://api.example"} | claims)


def bearer(**claims):
    return f"Authorization: Bearer {token(**claims)}"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    with running(tmp_path_factory.mktemp("seen"), UNLIMITED, JWT, OBSERVED, DEBUG, PROXIED) as setup:
        yield setup


def line_of(ours, answer):
    """The debug line about the request that got this answer."""
    return ours.wait_for_line(f"request {answer['x-request-id']}: ")


def test_an_access_line_names_the_handler_of_the_identity(ours):
    good, bad = ours.get("/users", bearer()), ours.get("/users", "Authorization: Bearer x.y.z")
    assert [ours.line_of(one)["auth"] for one in (good, bad)] == ["jwt", "-"]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "https://api.example/"}, "it is meant for another audience"),
        ({"exp": 1_700_000_000}, "it has expired"),
        ({"exp": None}, "it has no expiry date"),
    ],
)
def test_a_debug_line_has_the_reason_and_nothing_of_the_token(ours, claims, reason):
    given = token(**claims)
    answer = ours.get("/users", f"Authorization: Bearer {given}", f"X-Forwarded-For: 192.0.2.{len(reason)}")
    assert answer.status == 401
    line = line_of(ours, answer)
    assert f"[handler:jwt] the token is rejected: {reason}" in line
    assert not any(part in ours.errors for part in given.split("."))


def outcomes(ours):
    page = ours.get("/metrics").body.decode()
    found = re.findall(r'^gproxy_auth_total\{handler="jwt",outcome="(\w+)"\} (\S+)$', page, re.M)
    return {outcome: int(float(value)) for outcome, value in found}


def test_each_outcome_is_counted(ours):
    before = outcomes(ours)
    assert set(before) == {"ok", "missing", "invalid", "expired", "denied", "throttled", "unavailable"}
    client = "X-Forwarded-For: 198.51.100.7"
    for _ in range(3):
        assert ours.get("/users", bearer(), client).status == 200
    assert ours.get("/users", client).status == 401
    assert ours.get("/users", bearer(exp=1_700_000_000), client).status == 401
    bad = [ours.get("/users", f"Authorization: Bearer a.b.{place}", client).status for place in range(6)]
    assert bad == [401] * 4 + [429] * 2
    now = outcomes(ours)
    assert {name: now[name] - before[name] for name in now if now[name] > before[name]} == {
        "ok": 3, "missing": 1, "expired": 1, "invalid": 4, "throttled": 2,
    }  # fmt: skip


@contextmanager
def asking(gateway, token):
    """Send requests, each with what `token` returns for its number, while the block runs; yield their statuses."""
    statuses, stop = [], threading.Event()

    def ask():
        while not stop.wait(0.005):  # leave some of the cores to the workers that start
            try:
                statuses.append(gateway.get("/users", f"Authorization: Bearer {token(len(statuses))}").status)
            except OSError as error:
                statuses.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def reload_often(gateway, statuses):
    for _ in range(4):
        before = len(statuses)
        gateway.reload()
        eventually(lambda asked=before: len(statuses) > asked + 20, "requests after the reload")


def test_no_request_with_a_good_token_is_rejected_while_settings_are_reloaded(tmp_path):
    with running(tmp_path, UNLIMITED, ("secret = auto", f"secret = {SECRET}"), TWO) as ours:
        with asking(ours, lambda number: token(jti=str(number % 7))) as statuses:
            reload_often(ours, statuses)
        assert set(statuses) == {200}
        assert len(statuses) > 80


def test_bad_credentials_still_count_after_a_worker_was_killed(tmp_path):
    with running(tmp_path, UNLIMITED, JWT, OBSERVED, TWO) as ours:
        ours.wait_for_answers_of(2)
        for place in range(3):
            assert ours.get("/users", f"Authorization: Bearer a.b.{place}").status == 401
        eventually(lambda: outcomes(ours)["invalid"] == 3, "the samples of both workers")
        first = ours.workers[0]
        os.kill(first, signal.SIGKILL)
        ours.wait_for_line("was killed by SIGKILL")
        eventually(lambda: first not in ours.workers and len(ours.workers) == 2, "another worker")
        assert outcomes(ours)["invalid"] == 3
        statuses = [ours.get("/users", f"Authorization: Bearer b.b.{place}").status for place in range(4)]
        assert statuses == [401, 401, 429, 429]


def test_a_limit_by_user_still_counts_after_a_worker_was_killed(tmp_path):
    by_user = ("handlers = compress, health, rate_limit, jwt", "handlers = compress, health, jwt, rate_limit")
    limit = ("limit = 100/minute", "limit = 4/minute\nkey = user")
    with running(tmp_path, ("secret = auto", f"secret = {SECRET}"), by_user, limit, TWO) as ours:
        ours.wait_for_answers_of(2)
        assert [ours.get("/users", bearer(sub="bob")).status for _ in range(3)] == [200] * 3
        victim = ours.workers[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in ours.workers and len(ours.workers) == 2, "another worker")
        assert [ours.get("/users", bearer(sub="bob")).status for _ in range(3)] == [200, 429, 429]
        assert ours.get("/users", bearer(sub="eve")).status == 200


KEYS = """\
[gateway]
handlers = metrics, health, jwt
[handler:jwt]
issuer = {url}
audience = api
jwks_refresh = 1s
jwks_stale = 1h
[route:users]
path = /users
respond = 200
"""


@pytest.mark.parametrize("lost", [False, True], ids=["present", "lost"])
def test_no_request_with_a_token_of_an_issuer_is_rejected_while_settings_are_reloaded(tmp_path, lost):
    """New workers have the kept keys before they serve, whether they reach the issuer or not."""
    settings = f"[server]\nworkers = 2\nstate_dir = {tmp_path}/state\n{KEYS}"
    with Issuer() as issuer, RunningGateway(settings.format(url=issuer.url), tmp_path) as gateway:
        gateway.wait_for_answers_of(2)
        if lost:
            issuer.stop()
        with asking(gateway, lambda number: issuer.token(jti=str(number % 7))) as statuses:
            reload_often(gateway, statuses)
        assert set(statuses) == {200}
        assert len(statuses) > 80


def test_key_sets_are_counted_and_reported_and_a_lost_issuer_is_degraded_but_ready(tmp_path):
    with Issuer() as issuer, RunningGateway(KEYS.format(url=issuer.url), tmp_path) as gateway:
        label = f'{{issuer="{issuer.url}"'
        assert gateway.get("/users", f"Authorization: Bearer {issuer.token()}").status == 200
        assert gateway.metric(f"gproxy_keys{label}}}") == 1
        assert gateway.metric(f'gproxy_keys_fetches_total{label},outcome="ok"}}') >= 1
        report = gateway.health()
        assert report["status"] == "up"
        assert {key: report["keys"][issuer.url][key] for key in ("state", "count", "last_error")} == {
            "state": "fresh", "count": 1, "last_error": "",
        }  # fmt: skip
        issuer.stop()
        eventually(lambda: gateway.health()["status"] == "degraded", "the loss of the issuer")
        lost = gateway.health()["keys"][issuer.url]
        assert lost["state"] == "stale"
        assert lost["last_error"]
        assert gateway.get("/ready").status == 200
        assert gateway.metric(f'gproxy_keys_fetches_total{label},outcome="failed"}}') >= 1
        assert gateway.metric(f"gproxy_keys_age_seconds{label}}}") > 0
        issuer.start()
        eventually(lambda: gateway.health()["status"] == "up", "its return")


WARNED = """\
[gateway]
handlers = health
[handler:jwt]
secret = a secret of sixty-four bytes, or a few more, so that HS512 is content
audience = *
cross_site = allow
sources = cookie:sid
[handler:cors]
origins = https://app.example
[route:users]
path = /users
handlers = jwt, cors
respond = 200
[route:forgotten]
path = /forgotten
upstream = users
[upstream:users]
backends = http://127.0.0.1:5001
"""


def test_a_warning_has_its_line_and_never_fails_the_start(tmp_path):
    with RunningGateway(WARNED, tmp_path) as gateway:
        assert gateway.get("/users", f"Cookie: sid={token()}").status == 200
        command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        places = [line.split(": ")[1] for line in done.stderr.splitlines()]
        assert places == [f"gproxy.ini:{line}" for line in (5, 6, 12, 14)]


ENDING = """
from dataclasses import dataclass
from gproxy.identity import Identifier, Identity

@dataclass
class Ending(Identifier):
    scheme = "Session"

    def identify(self, request):
        return Identity(user="alice", expires=float(request.headers["Ends"]))
"""


def test_an_identity_of_a_users_handler_ends_when_it_says(tmp_path):
    (tmp_path / "ending.py").write_text(ENDING)
    text = "[gateway]\nhandlers = ending\n[handler:ending]\nuse = ending:Ending\n[route:all]\nrespond = 200\n"
    with RunningGateway(text, tmp_path) as gateway:
        ends = ["inf", "1e11", "1700000000", "0", "-inf", "nan"]
        statuses = [gateway.get("/", f"Ends: {one}").status for one in ends]
        assert statuses == [200, 200, 401, 401, 401, 500]
        gateway.wait_for_line("expires of the identity is not a number")
