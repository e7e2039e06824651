"""Feature 8: how it stops, by each signal."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from shipped import PUBLIC, UNLIMITED, on_path, problem, response, running

from gproxy.testing.gateway import RunningGateway, eventually

GET = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"


def slowly(seconds):
    """A backend whose /users/slow takes its time."""

    def wait(peer, _):
        time.sleep(seconds)
        peer.send(response(b"in the end"))

    return on_path("/users/slow", wait, response(b"quick"))


def gateway(folder, seconds, *changes):
    return running(
        folder, UNLIMITED, *PUBLIC, ("timeout = 3s", "timeout = 20s"), *changes, scripts=[slowly(seconds)] * 3
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_request_finishes_and_readiness_is_503(tmp_path, number):
    with gateway(tmp_path, 1.2) as ours, ours.connect() as running_one, ours.connect() as kept, ours.connect() as idle:
        for wire in (kept, idle):
            wire.send(GET.format("/ready"))
            assert wire.read_response().status == 200
        running_one.send(GET.format("/users/slow"))
        time.sleep(0.3)
        ours.signal(number)
        ours.wait_for_line("stopping")

        kept.send(GET.format("/ready"))
        ready = kept.read_response()
        assert (ready.status, ready["connection"]) == (503, "close")
        assert json.loads(ready.body)["status"] == "draining"
        assert kept.is_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ours.port), 5)
        assert idle.is_closed()

        answer = running_one.read_response()
        assert (answer.status, answer.body, answer["connection"]) == (200, b"in the end", "close")
        assert ours.wait() == 0
        assert "nothing was cut" in ours.wait_for_line("stopped after")
        assert ours.line_of(answer)["status"] == "200"
        assert "Traceback" not in ours.errors


def test_health_says_that_it_is_draining(tmp_path):
    with gateway(tmp_path, 1.0) as ours, ours.connect() as slow, ours.connect() as kept:
        kept.send(GET.format("/health"))
        assert json.loads(kept.read_response().body)["status"] == "up"
        slow.send(GET.format("/users/slow"))
        time.sleep(0.2)
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("stopping")
        kept.send(GET.format("/health"))
        answer = kept.read_response()
        assert (answer.status, json.loads(answer.body)["status"]) == (200, "draining")
        assert slow.read_response().status == 200
        assert ours.wait() == 0


@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT), (signal.SIGQUIT,)]
)
def test_a_second_signal_and_quit_stop_at_once(tmp_path, signals):
    with gateway(tmp_path, 3) as ours, ours.connect() as wire:
        wire.send(GET.format("/users/slow"))
        time.sleep(0.3)
        started = time.monotonic()
        for number in signals:
            ours.signal(number)
            time.sleep(0.2)
        assert ours.wait() == 0
        assert time.monotonic() - started < 1.5
        assert not wire.read_response().complete
        assert "open connections: 1" in ours.wait_for_line("stopping at once")


def test_a_signal_that_is_told_twice_is_one(tmp_path):
    """As `timeout` does: to its child, and then to the whole group."""
    with gateway(tmp_path, 1) as ours, ours.connect() as wire:
        wire.send(GET.format("/users/slow"))
        time.sleep(0.3)
        for _ in range(3):
            ours.signal(signal.SIGTERM)
            time.sleep(0.005)
        assert wire.read_response().complete
        assert ours.wait() == 0
        ours.wait_for_line("nothing was cut")


def test_grace_is_over(tmp_path):
    with gateway(tmp_path, 4, ("grace = 30s", "grace = 1s")) as ours, ours.connect() as wire:
        wire.send(GET.format("/users/slow"))
        time.sleep(0.2)
        started = time.monotonic()
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert 0.9 < time.monotonic() - started < 2.5
        answer = wire.read_response()
        assert (answer.status, problem(answer)["detail"], answer["connection"]) == (
            503,
            "the gateway is stopping",
            "close",
        )
        assert "1 request cut" in ours.wait_for_line("stopped after")
        assert "/users/slow" in ours.wait_for_line("not finished within grace")
        (line,) = ours.access()
        assert (line["path"], line["status"], line["reason"]) == ("/users/slow", "503", "draining")


def test_a_download_that_outlives_the_grace_is_broken_off_and_does_not_look_complete(tmp_path):
    def script(peer, backend):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            peer.send(b"1\r\nx\r\n")
            time.sleep(0.1)

    grace = ("grace = 30s", "grace = 1s")
    with running(tmp_path, UNLIMITED, *PUBLIC, grace, scripts=(None, script)) as ours, ours.connect() as wire:
        wire.send(GET.format("/orders"))
        time.sleep(0.3)
        ours.signal(signal.SIGTERM)
        answer = wire.read_response()
        assert (answer.status, answer.complete) == (200, False)
        assert ours.wait() == 0
        assert ours.access()[-1]["reason"] == "draining"


def test_an_idle_gateway_stops_at_once_and_idle_connections_do_not_hold_it(tmp_path):
    with gateway(tmp_path, 0) as ours:
        wires = [ours.connect() for _ in range(5)]
        for wire in wires[:3]:
            wire.send(GET.format("/ready"))
            wire.read_response()
        started = time.monotonic()
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert time.monotonic() - started < 2.5
        for wire in wires:
            assert wire.is_closed()
            wire.sock.close()


def test_a_long_download_and_a_long_upload_are_finished(tmp_path):
    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n")
            for _ in range(10):
                time.sleep(0.1)
                peer.send(b"x" * 50_000)

    with (
        running(tmp_path, UNLIMITED, *PUBLIC, scripts=(None, script)) as ours,
        ours.connect() as down,
        ours.connect() as up,
    ):
        down.send(GET.format("/orders"))
        up.send("PUT /users HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        down.read_until(b"\r\n\r\n")
        ours.signal(signal.SIGTERM)
        for _ in range(10):
            time.sleep(0.05)
            up.send(b"y" * 10_000)
        assert up.read_response().status == 200
        assert len(ours.one.requests[0].body) == 100_000
        assert len(down.read_exactly(500_000)) == 500_000
        assert ours.wait() == 0
        assert "nothing was cut" in ours.wait_for_line("stopped after")


def test_stopping_under_many_signals_is_not_confused(tmp_path):
    """USR1 and HUP in the middle of a stop are no second TERM."""
    with gateway(tmp_path, 1.0) as ours, ours.connect() as wire:
        wire.send(GET.format("/users/slow"))
        time.sleep(0.2)
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("stopping")
        ours.signal(signal.SIGUSR1)
        ours.signal(signal.SIGHUP)
        assert wire.read_response().body == b"in the end"
        assert ours.wait() == 0


def test_signals_in_the_last_moments_of_a_stop_do_not_replace_its_exit_code(tmp_path):
    """Until the process has gone: the interpreter takes some milliseconds to end."""
    with gateway(tmp_path, 0) as ours:
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("stopped after")
        while ours.process.poll() is None:
            for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM, signal.SIGTTIN):
                ours.signal(number)
        assert ours.wait() == 0


def test_a_client_that_goes_during_the_stop_does_not_hold_it(tmp_path):
    with gateway(tmp_path, 4) as ours:
        wire = ours.connect()
        wire.send(GET.format("/users/slow"))
        time.sleep(0.2)
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("stopping")
        started = time.monotonic()
        threading.Timer(0.2, wire.sock.close).start()
        assert ours.wait() == 0
        assert time.monotonic() - started < 2.5
        assert ours.access()[-1]["status"] == "499"


def test_a_stop_with_a_delay_is_not_ready_at_once_and_accepts_until_it_is_over(tmp_path):
    """So that a load balancer has time to look elsewhere."""
    delay = ("grace = 30s", "grace = 30s\nstop_delay = 1500ms\nworkers = 2")
    with gateway(tmp_path, 0, delay, ("workers = 1", "")) as ours, ours.connect() as kept:
        kept.send(GET.format("/users"))
        assert kept.read_response().status == 200
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("SIGTERM: no longer ready; stopping in 1.5 s")
        eventually(lambda: ours.get("/ready").status == 503, "unreadiness")
        kept.send(GET.format("/users"))
        assert kept.read_response()["connection"] is None
        assert ours.get("/users").status == 200
        ours.wait_for_line("stopping; requests in flight have 30 s")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ours.port), 5)
        assert ours.wait() == 0
        ours.wait_for_line("nothing was cut")


def test_a_worker_that_dies_in_the_delay_is_replaced(tmp_path):
    delay = ("grace = 30s", "grace = 30s\nstop_delay = 4s")
    with gateway(tmp_path, 0, delay) as ours:
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("SIGTERM: no longer ready; stopping in 4 s")
        os.kill(ours.workers[0], signal.SIGKILL)
        ours.wait_for_line("was killed by SIGKILL; starting another one")
        assert ours.get("/users").status == 200
        eventually(lambda: ours.get("/ready").status == 503, "unreadiness")
        ours.wait_for_line("stopping; requests in flight have 30 s")
        assert ours.wait() == 0
        ours.wait_for_line("nothing was cut")


def test_a_worker_that_hangs_in_a_stop_is_killed_in_the_end(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from gevent.monkey import get_original\ndef mine(request, next):\n    open('here', 'w').close()\n    get_original('time', 'sleep')(60)\n"
    )
    ini = "[server]\ngrace = 0s\n[handler:mine]\nuse = mine:mine\n[route:all]\nhandlers = mine\nupstream = one\n[upstream:one]\nbackends = http://127.0.0.1:1\n"
    with RunningGateway(ini, tmp_path) as ours, ours.connect() as wire:
        wire.send(GET.format("/"))
        eventually((tmp_path / "here").exists, "a worker that hangs")
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        ours.wait_for_line("did not exit in time; killing it")
        ours.wait_for_line("1 worker killed, with all open requests")
        ours.wait_for_line("mine.py")


def test_clients_that_only_the_kernel_knows_of_are_answered(tmp_path):
    with gateway(tmp_path, 0) as ours, ExitStack() as stack:
        (worker,) = ours.workers
        os.kill(worker, signal.SIGSTOP)
        wires = [stack.enter_context(ours.connect()) for _ in range(300)]
        for wire in wires:
            wire.send(GET.format("/users"))
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("stopping")
        os.kill(worker, signal.SIGCONT)
        assert {wire.read_response().status for wire in wires} == {200}
        assert ours.wait() == 0
        ours.wait_for_line("nothing was cut")


def test_a_request_that_has_come_in_time_is_answered_by_a_worker_that_was_held_up(tmp_path):
    with gateway(tmp_path, 0) as ours, ExitStack() as stack:
        (worker,) = ours.workers
        wires = [stack.enter_context(ours.connect()) for _ in range(10)]
        for wire in wires[:5]:
            wire.send(GET.format("/users"))
            assert wire.read_response().status == 200
        ours.signal(signal.SIGHUP)
        ours.wait_for_line("generation 2 serves")
        os.kill(worker, signal.SIGSTOP)
        for wire in wires:
            wire.send(GET.format("/users"))
        time.sleep(1.5)  # idle connections have one second
        os.kill(worker, signal.SIGCONT)
        assert {wire.read_response().status for wire in wires} == {200}


STUBBORN = """
import time

def stubborn(request, next):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_that_cannot_be_cut_is_counted_once_and_left(tmp_path, number):
    """A handler that catches everything keeps neither a stop nor an old generation waiting."""
    (tmp_path / "handlers.py").write_text(STUBBORN)
    ini = (
        "[server]\ngrace = 1s\n[route:r]\npath = /r\nhandlers = stubborn\nrespond = 200\n"
        "[handler:stubborn]\nuse = handlers:stubborn\n"
    )
    with RunningGateway(ini, tmp_path) as ours, ours.connect() as wire, ours.connect() as other:
        (old,) = ours.workers
        wire.send(GET.format("/r"))
        other.send(GET.format("/none"))
        assert other.read_response().status == 404  # it came after the first one
        started = time.monotonic()
        ours.signal(number)
        if number == signal.SIGTERM:
            assert ours.wait() == 0
            assert "1 request cut" in ours.wait_for_line("stopped after")
        else:
            eventually(lambda: len(ours.workers) == 2, "the new generation")
            eventually(lambda: old not in ours.workers, "the end of the old generation")
        assert time.monotonic() - started < 6
        assert ours.errors.count("not finished within grace") == 1
