"""Balancing as clients and users meet it: cookies in curl, draining, policies of the user's own, what /health says."""

import json
import subprocess
import sys
import threading
import time

import forked
import pytest

from gproxy.testing.backends import reply
from gproxy.testing.gateway import RunningGateway, eventually

BACKENDS = "one two three drained loaded_a loaded_b"
INI = """
[gateway]
handlers = compress, health
timeout = 2s
[handler:health]
cache = 0s
[route:sticky]
path = /sticky
upstream = sticky
[upstream:sticky]
backends = {one}, {two}, {three}
balance = sticky
sticky_cookie = where
[route:drain]
path = /drain
upstream = drain
[upstream:drain]
backends = {drained} drain, {two}
[route:tenants]
path = /tenants
upstream = tenants
[upstream:tenants]
backends = {one}, {two}, {three}
balance = handlers:Tenants
[route:broken]
path = /broken
upstream = broken
[upstream:broken]
backends = {one}, {two}
balance = handlers:broken
[route:chosen]
path = /chosen
upstream = chosen
[upstream:chosen]
backends = {one}, {two}, {three}
balance = handlers:Chosen
balance_window = 5s
[route:header]
path = /header
upstream = header
[upstream:header]
backends = {one}, {two}, {three}
balance = header_hash
hash_key = X-Tenant
[route:weighted]
path = /weighted
upstream = weighted
[upstream:weighted]
backends = {one} weight=5, {two}, {three}
[route:least]
path = /least
upstream = least
[upstream:least]
backends = {loaded_a}, {loaded_b}
balance = least_conn
[route:latency]
path = /latency
upstream = latency
[upstream:latency]
backends = {loaded_a}, {loaded_b}
balance = latency
"""

HANDLERS = '''
from dataclasses import dataclass

from gproxy import HTTPError
from gproxy.config.types import Seconds


@dataclass
class Chosen:
    window: Seconds = Seconds(0)

    def pick(self, backends, request):
        return backends[int(self.window) % 3]


class Tenants:
    """Tenant 1 is with the first backend, and so on."""

    def __init__(self):
        self.picked = 0

    def __call__(self, backends, request):
        tenant = request.headers.get("X-Tenant")
        if tenant is None:
            raise HTTPError(400, "whose are you?")
        if tenant == "nobody":
            return None
        self.picked += 1
        return backends[int(tenant) - 1]


def broken(backends, request):
    return {"/broken/name": "localhost:1", "/broken/none": None}[request.path]
'''


def curl(play, path, *arguments):
    version = "--http2-prior-knowledge" if play.gateway.words else "--http1.1"
    command = ["curl", "-sS", version, "--max-time", "10", *arguments, f"http://127.0.0.1:{play.gateway.port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def browse(play, jar, *arguments):
    return curl(play, "/sticky", "-b", str(jar), "-c", str(jar), *arguments)


def test_a_browser_stays_and_another_one_goes_elsewhere(play, tmp_path):
    first = browse(play, tmp_path / "ann")
    assert [browse(play, tmp_path / "ann") for _ in range(5)] == [first] * 5
    others = {browse(play, tmp_path / f"bob{n}") for n in range(3)}
    assert others == {"one", "two", "three"}
    assert "#HttpOnly_127.0.0.1" in (tmp_path / "ann").read_text()


def test_the_cookie_is_set_once_and_names_no_address(play, tmp_path):
    head = browse(play, tmp_path / "ann", "-D", "-")
    (line,) = [line for line in head.splitlines() if line.lower().startswith("set-cookie:")]
    assert line.lower().startswith("set-cookie: where=") and line.endswith("; Path=/; HttpOnly; SameSite=Lax")
    for backend in play.backends.values():
        assert str(backend.port) not in line
    assert "set-cookie" not in browse(play, tmp_path / "ann", "-D", "-").lower()


def test_a_browser_whose_backend_fails_moves_and_stays_there(play, tmp_path):
    lost = browse(play, tmp_path / "ann")
    play.backends[lost].act = lambda peer, request: peer.reset()
    moved = browse(play, tmp_path / "ann")
    assert moved != lost
    play.backends[lost].act = reply(lost.encode())
    assert [browse(play, tmp_path / "ann") for _ in range(3)] == [moved] * 3


def test_an_error_of_our_own_moves_nobody(play, tmp_path):
    where = browse(play, tmp_path / "ann")
    for name in ("one", "two", "three"):
        play.backends[name].act = lambda peer, request: peer.reset()
    assert "set-cookie" not in browse(play, tmp_path / "ann", "-D", "-", "-X", "POST").lower()
    play.reset()
    assert browse(play, tmp_path / "ann") == where


def test_draining_is_seen_in_health_and_by_nobody_new(play):
    assert {curl(play, "/drain") for _ in range(4)} == {"two"}
    upstreams = json.loads(curl(play, "/health"))["upstreams"]
    assert [facts["state"] for facts in upstreams["drain"]] == ["draining", "healthy"]


def test_a_policy_of_the_users_own(play):
    assert [curl(play, "/tenants", "-H", f"X-Tenant: {n}") for n in (2, 3, 1, 2)] == ["two", "three", "one", "two"]


def test_a_policy_of_the_users_own_with_an_option(play):
    assert {curl(play, "/chosen") for _ in range(4)} == {"three"}


def test_what_it_answers_itself(play):
    assert '"status": 400' in curl(play, "/tenants")
    assert '"status": 503' in curl(play, "/tenants", "-H", "X-Tenant: nobody")


@pytest.mark.parametrize(
    ("path", "said"),
    [("/broken/raises", "raised KeyError: '/broken/raises' ("), ("/broken/name", "returned a str that is not one of")],
)
def test_a_policy_that_fails_costs_a_500_a_line_and_nobody_else(play, path, said):
    answer = curl(play, path, "-D", "-")
    assert answer.split()[1] == "500"
    assert "proxy-status: gproxy; error=proxy_internal_error" in answer.lower()
    assert "handlers" not in answer.partition("\r\n\r\n")[2]
    line = play.gateway.wait_for_line(f"balance = handlers:broken {said}")
    assert "Traceback" not in line
    assert play.gateway.line(path)["reason"] == "balance_error"
    assert curl(play, "/tenants", "-H", "X-Tenant: 1") == "one"


def test_a_policy_that_finds_nobody_is_a_503(play):
    assert curl(play, "/broken/none", "-D", "-").split()[1] == "503"
    assert play.gateway.line("/broken/none")["reason"] == "none_available"


def test_a_header_keeps_its_backend_and_those_without_go_in_turn(play):
    for tenant in "abcdef":
        assert len({curl(play, f"/header/{n}", "-H", f"X-Tenant: {tenant}") for n in range(3)}) == 1
    assert sorted(curl(play, "/header") for _ in range(3)) == ["one", "three", "two"]


def test_weights_in_smooth_turn(play):
    found = "".join(curl(play, "/weighted")[1] for _ in range(14))  # n, w and h
    assert found in "nnwnhnn" * 4


def test_who_is_busy_is_left_alone(play):
    """One request hangs in a backend: the next ones go to the other, in a row."""
    release, busy = threading.Event(), []

    def hang(name):
        def act(peer, request):
            if "hang" in request.line:
                busy.append(name)
                release.wait(10)
            reply(name.encode())(peer, request)

        return act

    for name in ("loaded_a", "loaded_b"):
        play.backends[name].act = hang(name)
    thread = threading.Thread(target=curl, args=(play, "/least/hang"))
    thread.start()
    try:
        eventually(lambda: busy, "a hanging request")
        assert busy[0] not in {curl(play, "/least") for _ in range(4)}
    finally:
        release.set()
        thread.join()


def test_who_is_slow_is_asked_once(play):
    def slow(peer, request):
        time.sleep(0.3)
        reply(b"slow")(peer, request)

    play.loaded_a.act = slow
    assert [curl(play, "/latency") for _ in range(10)].count("slow") <= 1
    assert len(play.loaded_a.requests) == 1


@pytest.mark.parametrize(
    ("source", "balance", "said"),
    [
        ("import nothing_like_it", "policies:x", "cannot import policies: ModuleNotFoundError: No module named 'nothing_like_it' ("),
        ("def picc(backends, request): ...", "policies:pick", "policies has no 'pick'; did you mean 'picc'?"),
        ("pick = 5", "policies:pick", "policies:pick is not callable; expected a function or a class with pick(self, backends, request)"),
        ("def pick(request): ...", "policies:pick", "policies:pick cannot be called with (backends, request)"),
        ("class Pick:\n    def __init__(self): 1 / 0", "policies:Pick", "cannot create Pick: ZeroDivisionError: division by zero ("),
        ("class Pick: ...", "policies:Pick", "policies:Pick is not callable; expected a function or a class with pick(self, backends, request)"),
        ("def pick(", "policies:pick", "cannot import policies: SyntaxError"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong_with_a_policy(tmp_path, source, balance, said):
    (tmp_path / "policies.py").write_text(source)
    ini = f"[route:a]\nupstream = a\n[upstream:a]\nbackends = http://a\nbalance = {balance}\nretries = -1\n"
    (tmp_path / "gproxy.ini").write_text(ini + f"[upstream:b]\nbackends = http://a\nbalance = {balance}\n")
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    found = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    first, second, third, *_ = found.stderr.splitlines()
    assert first.startswith(f"gproxy.ini:5: [upstream:a] balance: {said}")
    assert second == "gproxy.ini:6: [upstream:a] retries: must be at least 0"
    assert third.startswith(f"gproxy.ini:9: [upstream:b] balance: {said}")


WINDOW = """
from dataclasses import dataclass
from gproxy.config.types import Seconds

@dataclass
class Window:
    window: Seconds = Seconds(5)

    def __post_init__(self):
        if self.window > 60:
            raise ValueError("balance_window: must be at most 60s")

    def pick(self, backends, request):
        return backends[0]

def pick(backends, request):
    return backends[0]
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["balance_window = 5s"], []),
        (["balance_window = 5"], ["6: [upstream:a] balance_window: expected a time such as 3s; found '5'; write 5s for seconds"]),
        (["balance_window = 2m"], ["6: [upstream:a] balance_window: must be at most 60s"]),
        (["keepalive = 3", "balance_windows = 5s"], ["7: [upstream:a] balance_windows: unknown option; did you mean 'balance_window'?"]),
        (["latency_decay = 5s"], ["6: [upstream:a] latency_decay: is for balance = latency, and not for policies:Window"]),
        (["balance = policies:pick", "balance_window = 5s"], ["7: [upstream:a] balance_window: policies:pick is not a dataclass, so it has no options"]),
    ],
)  # fmt: skip
def test_check_knows_the_options_of_a_policy(tmp_path, options, said):
    (tmp_path / "policies.py").write_text(WINDOW)
    lines = ["[route:a]", "upstream = a", "[upstream:a]", "backends = http://a", "balance = policies:Window", *options]
    if options[0].startswith("balance ="):
        lines[4] = ""
    (tmp_path / "gproxy.ini").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    found = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.stderr.splitlines()[: len(said)] == [f"gproxy.ini:{line}" for line in said]
    assert found.returncode == (2 if said else 0)


def test_routes_shows_what_stands_behind_a_backend(tmp_path):
    backends = "http://a:1 weight=3 drain, http://b:1 max_connections=5 backup, http://c:1 down"
    (tmp_path / "gproxy.ini").write_text(
        f"[route:a]\nupstream = a\n[upstream:a]\nbackends = {backends}\nbalance = p2c\n"
    )
    command = [sys.executable, "-m", "gproxy", "routes", "--config", "gproxy.ini"]
    said = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout
    assert backends in said
    assert "a, p2c, retries 1" in said


def test_a_gateway_that_cannot_keep_the_secret_says_so(tmp_path):
    (tmp_path / "var").write_text("")
    ini = (
        "[route:a]\nupstream = a\n[upstream:a]\nbackends = http://127.0.0.1:9\nbalance = sticky\n[log]\naccess = off\n"
    )
    gateway = RunningGateway(ini, tmp_path)
    with pytest.raises(AssertionError), gateway:
        pass
    assert gateway.process.returncode == 1
    assert "[upstream:a] sticky_secret: it cannot be stored in var/sticky_a.secret" in gateway.errors
