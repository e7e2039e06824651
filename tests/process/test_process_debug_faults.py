"""A debugger whose terminal, command or monitor fails harms neither the stopped request nor any other one."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from debug_terminal import PROMPT
from started import started
from test_process_debug import HANDLERS, NAME_LINE, Asking, debugger, running, socket_places, stopped

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import eventually

PRINTS = """
import sys


def breaks(request, next):
    print(f"a secret of {request.path}, {sys.stdout.isatty()}")
    return next(request)
"""


@pytest.fixture(scope="module")
def backend():
    with Backend(answering(body=b"hi")) as one:
        yield one


@pytest.fixture(scope="module")
def shop(tmp_path_factory, backend):
    with running(tmp_path_factory.mktemp("debug"), backend) as gateway:
        yield gateway


def children(pid):
    """The child processes, with their command lines."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in pids}


def monitor_of(gateway):
    return next(pid for pid, line in children(gateway.process.pid).items() if "monitor" in line)


def test_a_terminal_that_is_suspended_holds_the_request_no_longer_than_hold(shop):
    with stopped(shop, "/users/1", "--path", "/users/1", "--hold", "3s") as (terminal, asking):
        pid = next(iter(children(terminal.process.pid)), terminal.process.pid)
        terminal.type("!__import__('time').sleep(0.5); print('x' * 20_000_000)")
        terminal.wait_for("20_000_000")
        eventually(lambda: shop.get("/plain").status == 200, "another answer")
        os.kill(pid, signal.SIGSTOP)
        try:
            assert asking.result().status == 200
            assert asking.seconds < 8
        finally:
            os.kill(pid, signal.SIGCONT)
    with stopped(shop, "/users/1", "--path", "/users/1") as (terminal, asking):
        terminal.type("q")
        assert asking.result().status == 200


def test_commands_that_leave_at_once_leave_nothing(shop):
    path, _ = socket_places(shop)
    body = b'{"path": "/never"}'
    head = (
        f"POST /v1/debug HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(25):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(head.encode() + body)
    eventually(lambda: shop.errors.count("debugger for path /never") + shop.errors.count(" 503") >= 20, "the rules")

    def is_admitted():
        with debugger(shop, "--path", "/never", "--wait", "0.1s") as terminal:
            assert terminal.ends_with(1)
        return "nothing has matched" in terminal.text

    eventually(is_admitted, "a further debugger")


def test_a_monitor_that_does_not_answer_costs_a_second_and_no_later_session(shop):
    monitor = monitor_of(shop)
    with debugger(shop, "--path", "/users/*") as terminal:
        terminal.wait_for("waiting for a request")
        os.kill(monitor, signal.SIGSTOP)
        try:
            answer = Asking(shop, "/users/1").result()
        finally:
            os.kill(monitor, signal.SIGCONT)
        assert answer.status == 200, "the clocks stand still"
        assert terminal.ends_with(1)
    with stopped(shop, "/users/1", "--path", "/users/1") as (terminal, asking):
        terminal.type("q")
        assert asking.result().status == 200


def test_what_other_requests_print_is_not_shown_while_a_command_waits(tmp_path, backend):
    with running(tmp_path / "one", backend) as gateway:
        (gateway.folder / "handlers.py").write_text(HANDLERS + PRINTS)
        gateway.reload()
        with stopped(gateway, "/users/1", "--path", "/users/1") as (terminal, asking):
            terminal.type("!__import__('time').sleep(1), print('mine')")
            began = time.monotonic()
            assert gateway.get("/breaks/1").status == 200
            assert time.monotonic() - began < 1
            assert "\nmine\n" in terminal.wait_for(PROMPT)
            assert "secret" not in terminal.text
            terminal.type("q")
            assert asking.result().status == 200


def test_what_is_typed_in_a_flood_arrives_whole_and_in_order(shop):
    command = [sys.executable, "-m", "gproxy", "debug", "--config", str(shop.config), "--path", "/users/1"]
    lines = ["!__import__('time').sleep(3); n = 0", *[f"!n += 1  # {'x' * 2000}"] * 600, "p 'counted', n", "q"]
    with (shop.folder / "lines").open("w+") as file:
        file.write("\n".join([*lines, ""]))
        file.seek(0)
        with (
            (shop.folder / "shown").open("w") as shown,
            (shop.folder / "said").open("w") as said,
            started(command, cwd=shop.folder, stdin=file, stdout=shown, stderr=said) as process,
        ):
            eventually(lambda: "waiting for" in (shop.folder / "said").read_text(), "the command")
            asking = Asking(shop, "/users/1")
            assert shop.get("/plain").status == 200
            assert asking.result().status == 200
            assert process.wait(20) == 0
    assert "('counted', 600)" in (shop.folder / "shown").read_text()


def test_all_breakpoints_are_cleared_without_a_question_at_the_input_of_the_worker(shop):
    with stopped(shop, "/users/1", "--path", "/users/1") as (terminal, asking):
        assert "Breakpoint" in terminal.ask(f"b handlers:{NAME_LINE}")
        terminal.ask("clear")
        terminal.type("c")
        assert asking.result().status == 200
        assert terminal.ends_with(0)


def test_a_worker_that_dies_is_named_and_the_command_fails(tmp_path, backend):
    with running(tmp_path / "one", backend) as gateway, debugger(gateway, "--path", "/users/1") as terminal:
        terminal.wait_for("waiting for a request")
        with gateway.connect() as wire:
            wire.send("GET /users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            terminal.wait_for(PROMPT)
            (worker,) = gateway.workers
            os.kill(worker, signal.SIGKILL)
            assert terminal.ends_with(1)
        assert f"process {worker} has ended" in terminal.text
        eventually(lambda: gateway.workers not in ([], [worker]), "another worker")
        assert gateway.get("/users/1").status == 200


def test_a_monitor_that_dies_lets_the_request_go_on_and_the_command_fails(tmp_path, backend):
    with (
        running(tmp_path / "one", backend) as gateway,
        stopped(gateway, "/users/1", "--path", "/users/1") as (terminal, asking),
    ):
        os.kill(monitor_of(gateway), signal.SIGKILL)
        assert asking.result().status == 200
        assert terminal.ends_with(1)
    assert "admin.sock has ended within its answer\n" in terminal.text
