"""Where the time of a request went: Server-Timing, `gproxy explain ID` and the page put each wait in its part.

The bounds are exact on a machine of any speed: a wait begins when the monitor shows the request in its phase, and what
the test then waits must be in the part.
"""

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html import escape

import forked
import pytest

from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.observe import readable
from gproxy.testing.backends import Actor, Held, reply
from gproxy.testing.gateway import RunningGateway, eventually

TOKEN = "X-Gproxy-Timing: timing-token-of-16-bytes"
HELD = 0.25
#: The seconds that clocks of two processes and rounded figures may differ by.
ROUNDED = 0.002
INI = """
[admin]
bind = unix:{tmp}/admin.sock
slow = 100ms
[trace]
timing_token = timing-token-of-16-bytes
[gateway]
timeout = 60s
total_timeout = 60s
[handler:slow]
use = mine:slow
[route:slow]
path = /slow
handlers = slow
upstream = app
[route:narrow]
path = /narrow
upstream = narrow
[route:later]
path = /later
upstream = later
[route:all]
path = /
upstream = app
[upstream:app]
backends = BACKEND
[upstream:narrow]
backends = BACKEND
max_requests = 1
queue = 10
queue_timeout = 60s
[upstream:later]
backends = BACKEND
retry_on = 503
retry_after = yes
"""
HANDLERS = """
import time
def slow(request, next):
    began = time.monotonic()
    time.sleep(0.1)
    called = time.monotonic()
    response = next(request)
    returned = time.monotonic()
    time.sleep(0.1)
    response.headers["X-Next"] = f"{returned - called}"
    response.headers["X-Own"] = f"{time.monotonic() - returned + called - began}"
    return response
"""


@pytest.fixture(scope="module")
def backend():
    with Actor() as backend:
        yield backend


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, backend):
    folder = tmp_path_factory.mktemp("account")
    (folder / "mine.py").write_text(HANDLERS)
    with RunningGateway(INI.replace("BACKEND", backend.url), folder) as gateway:
        gateway.wait_for_line("monitor: serves on")
        yield gateway


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def client_of(gateway):
    return AdminClient(f"unix:{gateway.folder}/admin.sock")


def wait_for(gateway, phase):
    """Wait until one request is in this phase, and return it."""
    client = client_of(gateway)
    found = []
    eventually(
        lambda: found.extend(client.get("/v1/requests", {"phase": phase})["requests"]) or found, f"the phase {phase}"
    )
    return found[0]


def hold(seconds=HELD):
    """Wait, as the part of a request that is measured, and return for how long."""
    began = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - began


def parts_of(answer):
    """The parts in Server-Timing, in seconds."""
    return {name: float(ms) / 1000 for name, ms in re.findall(r"([\w.]+);dur=([0-9.]+)", answer["server-timing"])}


def check(gateway, answer, part, least, *, in_header=True):
    """Check that all views have at least so many seconds in this part, and return what the monitor knows."""
    client, identity = client_of(gateway), answer["x-request-id"]
    found = []

    def is_known():
        try:
            found.append(client.get(f"/v1/requests/{identity}"))
        except AdminError:
            return False
        return "duration" in found[-1]

    eventually(is_known, "the monitor to know the request")
    entry = found[-1]
    account = entry["account"]
    assert account[part] >= least - ROUNDED, account
    assert sum(account.values()) == pytest.approx(entry["duration"], abs=ROUNDED)
    if in_header:
        assert parts_of(answer)[part.removeprefix("handler.")] == pytest.approx(account[part], abs=ROUNDED)
    command = [sys.executable, "-m", "gproxy", "explain", identity, "--admin", client.place]
    explained = forked.run(command, capture_output=True, text=True, timeout=60, cwd=gateway.folder, check=True)
    assert re.search(rf"\n *{re.escape(part)} +{account[part] * 1000:.1f} ms", explained.stdout), explained.stdout
    row = next(row for row in page(client).split("<tr ") if escape(entry["path"]) in row)
    assert f">{part} {readable.duration(account[part])}</li>" in row
    return entry


def page(client):
    connection = client.connection()
    try:
        connection.request("GET", "/?view=recent")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_slow_handler_has_its_own_time_and_not_that_of_what_it_calls(gateway, backend):
    backend.act = lambda peer, request: (time.sleep(HELD), reply()(peer, request))
    answer = gateway.get("/slow", TOKEN)
    own, called = float(answer["x-own"]), float(answer["x-next"])
    account = check(gateway, answer, "handler.slow", own)["account"]
    assert HELD - ROUNDED <= account["backend"] <= called + ROUNDED
    assert account["handler.slow"] <= sum(account.values()) - called + ROUNDED


def test_a_slow_backend_has_the_wait_for_its_response(gateway, backend, pool):
    held = backend.act = Held()
    answer = pool.submit(gateway.get, "/backend", TOKEN)
    wait_for(gateway, "wait")
    least = hold()
    held.go.set()
    check(gateway, answer.result(), "backend", least)


def test_a_full_upstream_has_the_wait_in_its_queue(gateway, backend, pool):
    held = backend.act = Held()
    first = pool.submit(gateway.get, "/narrow/first", TOKEN)
    wait_for(gateway, "wait")
    second = pool.submit(gateway.get, "/narrow/second", TOKEN)
    assert wait_for(gateway, "queue")["path"] == "/narrow/second"
    least = hold()
    held.go.set()
    entry = check(gateway, second.result(), "queue", least)
    assert entry["account"]["backend"] <= entry["duration"] - least + ROUNDED
    check(gateway, first.result(), "backend", least)


def test_a_slow_upload_is_the_client_s(gateway, backend):
    backend.act = reply()
    with gateway.connect() as wire:
        wire.send(f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n{TOKEN}\r\n\r\n")
        wait_for(gateway, "upload")
        least = hold()
        wire.send("body")
        answer = wire.read_response()
    entry = check(gateway, answer, "upload", least)
    assert entry["account"]["backend"] <= entry["duration"] - least + ROUNDED


def test_a_slow_reader_is_the_client_s(gateway, backend):
    size = 12 << 20  # more than the kernel keeps of a connection
    backend.act = reply(bytes(size))
    with gateway.connect() as wire:
        wire.send(f"GET /download HTTP/1.1\r\nHost: a\r\n{TOKEN}\r\n\r\n")
        eventually(partial(stands_still, gateway), "the gateway to wait for the client")
        least = hold()
        answer = wire.read_response(head_only=True)
        left = size - len(wire.buffer)
        while left and (data := wire.sock.recv(1 << 20)):
            left -= len(data)
    assert not left
    check(gateway, answer, "write", least, in_header=False)


def stands_still(gateway):
    """Return whether the one request in flight waits for its client, by the limit that is paused."""
    return wait_for(gateway, "body")["remaining"] == "waiting for the client"


def test_retries_have_their_pauses_and_each_attempt_its_outcome(gateway, backend):
    acts = iter([reply(b"", "Retry-After: 1", status="503 Service Unavailable"), reply()])

    def act(peer, request):
        next(acts)(peer, request)

    backend.act = act
    entry = check(gateway, gateway.get("/later", TOKEN), "pause", 1.0)
    assert [one["outcome"] for one in entry["attempts"]] == ["503", "200"]
    assert sum(one["seconds"] for one in entry["attempts"]) <= entry["duration"] - 1.0 + ROUNDED
