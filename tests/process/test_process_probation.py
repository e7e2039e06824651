"""`[server] probation`: new code that fails a tenth of its requests gives way to the old code, by itself and once."""

import json
import math
import socket

import pytest
from greeter import SETTINGS, command, running
from hammer import load

from gproxy.testing.gateway import eventually

PROBATION = f"""
[server]
workers = 2
probation = 60s
{SETTINGS}"""
NEW = """
import itertools
from gproxy import Response

turns = itertools.count(1)

def greet(request, next):
    if next_turn() % 10 == 0:
        raise KeyError("no name")
    return Response(200, b"new")

def next_turn():
    return next(turns)
"""


@pytest.fixture
def gateway(tmp_path):
    with running(tmp_path, "old", PROBATION) as found:
        yield found


def page(gateway):
    """Return the page with the processes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(gateway.folder / "admin.sock"))
        sock.sendall(
            b"GET /?view=processes HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        )
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def test_code_that_fails_a_tenth_gives_way_once_and_no_request_is_lost(gateway, tmp_path):
    with load(gateway.port, threads=4, may_lose=math.inf) as clients:
        (tmp_path / "greeting.py").write_text(NEW)
        assert command(gateway, "reload").stdout.startswith("reloaded: generation 2 serves, on probation until 20")
        line = gateway.wait_for_line("generation 2 fails its probation")
        gateway.wait_for_line("reloaded: generation 3 serves")
        eventually(lambda: gateway.get("/").body == b"old", "the old code")
    assert "ERROR" in line
    assert "requests failed in handlers, more than 5%; the last in handler greet: KeyError: 'no name'" in line
    assert f"{tmp_path}/greeting.py:9)" in line
    lost = [one for client in clients for one in client.lost]
    assert lost
    assert [one for one in lost if not (one.startswith("<Answer 500 ") and one.endswith("complete=True>"))] == []
    with load(gateway.port, threads=4):  # all of it is answered by the old code
        assert {gateway.get("/").body for _ in range(20)} == {b"old"}
    assert gateway.errors.count("fails its probation") == gateway.errors.count("returning to") == 1
    reloads = json.loads(command(gateway, "admin", "status", "--json").stdout)["reloads"]
    assert [one["cause"] for one in reloads][1:] == ["probation"]
    assert "the last in handler greet: KeyError" in reloads[1]["reasons"][0]
    marks = json.loads(command(gateway, "admin", "figures", "--json").stdout)["marks"]
    assert [one["text"] for one in marks if one["kind"] == "reload_failed"] == [
        f"probation: {reloads[1]['reasons'][0]}"
    ]
    assert "handler greet: KeyError" in page(gateway)


def test_a_generation_on_probation_is_shown_and_code_that_works_stays(gateway, tmp_path):
    assert "probation" not in command(gateway, "ps").stdout
    (tmp_path / "greeting.py").write_text(NEW.replace("% 10", "% 1000"))
    assert command(gateway, "reload").returncode == 0
    assert "generation 2 is on probation until " in command(gateway, "ps").stdout
    assert "Probation" in page(gateway)
    with load(gateway.port, threads=4, may_lose=math.inf):  # a thousandth fails
        pass
    shown = json.loads(command(gateway, "admin", "status", "--json").stdout)
    assert (shown["generation"], shown["probation"]["generation"]) == (2, 2)
    assert command(gateway, "rollback").returncode == 0
    assert json.loads(command(gateway, "admin", "status", "--json").stdout)["probation"] is None


def test_what_ends_in_a_time_limit_counts_too(tmp_path):
    settings = PROBATION.replace("use = greeting:greet", "use = greeting:greet\ntime_limit = 20ms")
    with running(tmp_path, "old", settings.replace("workers = 2", "workers = 1")) as gateway:
        (tmp_path / "greeting.py").write_text("import gevent\n\ndef greet(request, next):\n    gevent.sleep(9)\n")
        gateway.reload()
        for _ in range(25):
            assert gateway.get("/").status in (504, 200)
        line = gateway.wait_for_line("generation 2 fails its probation")
        assert f"the last in handler greet: did not finish in time ({tmp_path}/greeting.py:4)" in line
        eventually(lambda: gateway.get("/").body == b"old", "the old code")
