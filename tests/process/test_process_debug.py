"""An operator stops one request of a running gateway in pdb, steps through it, and lets it go on."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import forked
import pytest
from admin_listener import client_of
from debug_terminal import PROMPT, CommandTerminal, wait

from gproxy.commands.live.admin_client import AdminError
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually, free_port

INI = """
[server]
workers = {workers}
grace = {grace}
[admin]
bind = unix:{tmp}/admin.sock, 127.0.0.1:{port}
token = {token}
debug = {debug}
{access}
[log]
access = log/access.log
[gateway]
timeout = 1s
handlers = outer, tenant
[handler:outer]
use = handlers:outer
[handler:tenant]
use = handlers:tenant
[handler:waits]
use = handlers:waits
[handler:breaks]
use = handlers:breaks
[route:users]
path = /users
upstream = users
[route:waits]
path = /waits
handlers = waits
upstream = users
timeout = 30s
[route:breaks]
path = /breaks
handlers = breaks
upstream = users
[route:plain]
path = /plain
skip = outer, tenant
upstream = users
[upstream:users]
backends = http://127.0.0.1:{backend}
"""
HANDLERS = """
import time

def outer(request, next):
    response = next(request)
    response.headers["X-Outer"] = "yes"
    return response


def tenant(request, next):
    name = lookup(request)
    request.headers["X-Tenant"] = name
    response = next(request)
    response.headers["X-Tenant"] = request.headers["X-Tenant"]
    return response


def lookup(request):
    words = request.path.split("/")
    return words[-1]  # the name


def waits(request, next):
    for _ in range(100):
        time.sleep(0.01)  # waits
    return next(request)


def breaks(request, next):
    secret = 42
    return next(request) if request.path.endswith("well") else 1 / 0
"""
GREENLET = "!print('greenlet', id(__import__('greenlet').getcurrent()))"
TOKEN, READ_TOKEN = "act-" + "t" * 28, "read-" + "r" * 27
NAME_LINE = HANDLERS.splitlines().index("    return words[-1]  # the name") + 1


@pytest.fixture(scope="module")
def backend():
    with Backend(answering(body=b"hi")) as running:
        yield running


@contextmanager
def running(folder, backend, *, workers=1, grace="30s", debug="yes", access=""):
    folder.mkdir(exist_ok=True)
    (folder / "handlers.py").write_text(HANDLERS)
    port = free_port()
    ini = INI.replace("{tmp}", str(folder)).format(
        workers=workers, grace=grace, debug=debug, access=access, backend=backend.port, port=port, token=TOKEN
    )
    with RunningGateway(ini, folder) as gateway:
        gateway.wait_for_line("monitor: serves on")
        yield gateway


@pytest.fixture(scope="module")
def shop(tmp_path_factory, backend):
    with running(tmp_path_factory.mktemp("debug"), backend, workers=2) as gateway:
        yield gateway


def debugger(gateway, *arguments):
    return CommandTerminal("debug", "--config", str(gateway.config), *arguments, folder=gateway.folder)


class Asking(threading.Thread):
    """A request of its own thread, with its answer and its duration."""

    def __init__(self, gateway, path, *fields):
        super().__init__(daemon=True)
        self._gateway, self._path, self._fields = gateway, path, fields
        self.answer, self.seconds = None, 0.0
        self.start()

    def run(self):
        began = time.monotonic()
        self.answer = self._gateway.get(self._path, *self._fields)
        self.seconds = time.monotonic() - began

    def result(self):
        self.join(20)
        return self.answer


@contextmanager
def stopped(gateway, path, *arguments, fields=()):
    """A debugger that has stopped a request for the path."""
    with debugger(gateway, *arguments) as terminal:
        terminal.wait_for("waiting for a request")
        asking = Asking(gateway, path, *fields)
        terminal.wait_for(PROMPT)
        yield terminal, asking


def test_a_rule_by_header_stops_one_request_and_all_others_pass(shop):
    with debugger(shop, "--header", "X-Debug: 1") as terminal:
        terminal.wait_for("waiting for a request")
        assert shop.get("/users/1", "X-Debug: 2").status == 200
        asking = Asking(shop, "/users/7", "X-Debug: 1")
        terminal.wait_for(PROMPT)
        assert ")outer()\n-> response = next(request)\n" in terminal.text
        with shop.connect() as wire:
            for number in range(1000):
                wire.send(f"GET /users/{number} HTTP/1.1\r\nHost: a\r\nX-Debug: {number % 2}\r\n\r\n")
                assert wire.read_response().status == 200
        (entry,) = client_of(shop).get("/v1/requests")["requests"]
        assert (entry["phase"], entry["remaining"], entry["path"]) == ("debug", "debugging", "/users/7")
        assert terminal.ask("p request.path").startswith("p request.path\n'/users/7'\n")
        wait(2.2)  # the deadline is a second
        terminal.type("c")
        assert asking.result().status == 200
        assert asking.seconds > 2
        assert terminal.ends_with(0)
    assert "the request goes on" in terminal.text
    shop.wait_for_line("debugger for header X-Debug by uid")


def test_a_rule_takes_one_request_over_all_workers(shop):
    with debugger(shop, "--path", "/users/*", "--method", "get", "--client", "127.0.0.0/8") as terminal:
        terminal.wait_for("waiting for a request")
        asking = [Asking(shop, f"/users/{number}") for number in range(20)]
        terminal.wait_for(PROMPT)
        eventually(lambda: sum(one.answer is not None for one in asking) == 19, "the answers of all others")
        terminal.type("c")
        assert {one.result().status for one in asking} == {200}
        assert terminal.ends_with(0)


@pytest.mark.parametrize("end", ["q", "exit", "\x04"])
def test_a_detached_request_goes_on_and_its_worker_lives(shop, end):
    workers = shop.workers
    with stopped(shop, "/users/5", "--path", "/users/5") as (terminal, asking):
        terminal.type(end)
        assert asking.result()["X-Tenant"] == "5"
        assert terminal.ends_with(0)
    assert shop.workers == workers


def test_a_lost_terminal_lets_the_request_go_on(shop):
    with stopped(shop, "/users/6", "--path", "/users/6") as (terminal, asking):
        terminal.hang_up()
        assert asking.result().status == 200
    assert shop.get("/users/6").status == 200


def test_the_end_of_hold_lets_the_request_go_on(shop):
    with stopped(shop, "/users/8", "--path", "/users/8", "--hold", "1500ms") as (terminal, asking):
        terminal.ask("p 1")
        assert asking.result().status == 200
        assert 1.4 < asking.seconds < 5
        assert terminal.ends_with(0)
    assert "--- the time of 1.5s is over ---" in terminal.text


def test_a_rule_that_nothing_matches_ends(shop):
    with debugger(shop, "--path", "/nothing", "--wait", "1s") as terminal:
        assert terminal.ends_with(1)
    assert "nothing has matched within the time of --wait" in terminal.text
    assert shop.get("/nothing").status == 404


def test_a_client_that_leaves_is_shown_and_the_session_goes_on(shop):
    with debugger(shop, "--path", "/users/9") as terminal:
        terminal.wait_for("waiting for a request")
        with shop.connect() as wire:
            wire.send("GET /users/9 HTTP/1.1\r\nHost: a\r\n\r\n")
            terminal.wait_for(PROMPT)
        terminal.wait_for("--- the client has left ---")
        assert "'/users/9'" in terminal.ask("p request.path")
        terminal.type("c")
        assert terminal.ends_with(0)
    assert shop.line("/users/9")["status"] == "499"


def test_steps_pass_a_real_backend_and_change_the_request(shop):
    with stopped(shop, "/users/3", "--path", "/users/3", "--handler", "tenant") as (terminal, asking):
        assert "name = lookup(request)" in terminal.text
        assert "request.headers[" in terminal.ask("n")
        terminal.ask("!name = 'other'")
        assert "response = next(request)" in terminal.ask("n")
        assert "response.headers[" in terminal.ask("n")
        assert "\n200\n" in terminal.ask("p response.status")
        assert "return response" in terminal.ask("n")
        assert "--Return--" in terminal.ask("n")
        assert "outer()\n-> response.headers" in terminal.ask("n")
        assert "handlers.py" in terminal.ask("w")
        terminal.type("c")
        assert asking.result()["X-Tenant"] == "other"


def test_a_step_never_stops_in_another_request(tmp_path, backend):
    place = f"handlers.py:{HANDLERS.splitlines().index('        time.sleep(0.01)  # waits') + 1}"
    with (
        running(tmp_path / "one", backend) as shop,
        stopped(shop, "/waits/step", "--at", place, "--path", "/waits/*") as (terminal, asking),
    ):
        done = threading.Event()

        def load():
            with shop.connect() as wire:
                while not done.is_set():
                    wire.send("GET /users/noise HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert wire.read_response().status == 200

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            greenlets = set()
            for _ in range(40):
                terminal.ask("s")
                greenlets.add(re.search(r"\ngreenlet (\d+)\n", terminal.ask(GREENLET))[1])
            assert len(greenlets) == 1
            assert "noise" not in terminal.text
            terminal.type("q")
            assert asking.result()["X-Tenant"] == "step"
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_a_route_without_handlers_stops_before_its_action(shop):
    with stopped(shop, "/plain", "--path", "/plain") as (terminal, asking):
        assert f"--- before the action of the route; request is a local ---\n{PROMPT}" in terminal.text
        assert "'/plain'" in terminal.ask("p request.path")
        terminal.ask("request.headers['X-Set'] = 'yes'")
        terminal.type("c")
        assert asking.result().status == 200


def test_a_line_stops_in_its_frame_with_its_locals(shop):
    place = f"handlers.py:{NAME_LINE}"
    with stopped(shop, "/users/line", "--at", place, "--path", "/users/*") as (terminal, asking):
        assert f"handlers.py({NAME_LINE})lookup()\n-> return words[-1]" in terminal.text
        assert "['', 'users', 'line']" in terminal.ask("p words")
        assert "-> name = lookup(request)" in terminal.ask("u")
        terminal.type("c")
        assert asking.result()["X-Tenant"] == "line"
        assert terminal.ends_with(0)


def test_a_line_without_code_is_rejected_with_the_nearest_one(shop):
    with debugger(shop, "--at", "handlers.py:1") as terminal:
        assert terminal.ends_with(1)
    assert "409 Conflict: at: there is no code in handlers.py:1; the nearest is in line 2" in terminal.text
    with debugger(shop, "--at", "nowhere.py:1") as terminal:
        assert terminal.ends_with(1)
    assert "at: no module has the file nowhere.py" in terminal.text


def test_an_exception_is_shown_where_it_was_raised(shop):
    with debugger(shop, "--on-error", "--path", "/breaks/*") as terminal:
        terminal.wait_for("waiting for a request")
        assert shop.get("/breaks/well").status == 200
        asking = Asking(shop, "/breaks/now")
        terminal.wait_for(PROMPT)
        assert "ZeroDivisionError: division by zero" in terminal.text
        assert "breaks()\n-> return next(request)" in terminal.text
        assert "\n42\n" in terminal.ask("p secret")
        terminal.type("c")
        assert asking.result().status == 500
        assert terminal.ends_with(0)


def test_commands_that_do_not_fit_a_gateway_change_nothing(shop):
    with stopped(shop, "/users/4", "--path", "/users/4") as (terminal, asking):
        for command in ("run", "restart", "debug 1", "interact"):
            assert "not available in a gateway" in terminal.ask(command)
        assert "ZeroDivisionError" in terminal.ask("p 1 / 0")
        assert "The Python Debugger Pdb" in terminal.ask("help pdb")
        assert "Breakpoint 1 at" in terminal.ask(f"b handlers:{NAME_LINE}")
        assert "-> return words[-1]" in terminal.ask("c")
        terminal.type("c")
        assert asking.result().status == 200
        assert terminal.ends_with(0)
    assert shop.get("/users/4").status == 200


def test_a_stop_leaves_the_session_until_grace_ends(tmp_path, backend):
    with (
        running(tmp_path / "one", backend, grace="3s") as gateway,
        stopped(gateway, "/users/1", "--path", "/users/1") as (terminal, asking),
    ):
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("stopping")
        wait(1.0)
        assert "'/users/1'" in terminal.ask("p request.path")
        assert asking.result().status == 503
        assert gateway.wait() == 0
        assert terminal.ends_with(0)


def test_a_session_ends_in_time_for_a_stop(tmp_path, backend):
    with (
        running(tmp_path / "one", backend) as gateway,
        stopped(gateway, "/users/1", "--path", "/users/1") as (terminal, asking),
    ):
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("stopping")
        terminal.type("c")
        assert asking.result().status == 200
        assert gateway.wait() == 0


def test_tcp_is_rejected(shop):
    _, port = socket_places(shop)
    found = asked_over_tcp(port, TOKEN)
    assert found.startswith("HTTP/1.1 403 ")
    assert "debugging is a shell in the gateway: it needs a unix socket" in found
    done = command(shop, "--admin", f"http://127.0.0.1:{port}", "--path", "/users/*")
    assert (done.returncode, "it needs a unix socket" in done.stderr) == (1, True)


def test_with_act_no_it_is_rejected(tmp_path, backend):
    with running(tmp_path / "one", backend, access="act = no") as gateway:
        done = command(gateway, "--config", str(gateway.config), "--path", "/users/*")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("403 Forbidden: this would change something")
        assert gateway.get("/users/1").status == 200
        gateway.wait_for_line("rejected POST /v1/debug by uid")
        assert "debugger for" not in gateway.errors


def test_a_read_token_is_rejected_before_the_rule_is_looked_at(tmp_path, backend):
    with running(tmp_path / "one", backend, access=f"read_token = {READ_TOKEN}") as gateway:
        _, port = socket_places(gateway)
        found = asked_over_tcp(port, READ_TOKEN)
        assert found.startswith("HTTP/1.1 403 ")
        assert "this would change something" in found
        gateway.wait_for_line("rejected POST /v1/debug by read_token")


def test_without_debug_it_is_rejected_and_nothing_is_imported(tmp_path, backend):
    with running(tmp_path / "one", backend, debug="no") as gateway:
        with debugger(gateway, "--path", "/users/*") as terminal:
            assert terminal.ends_with(1)
        assert "403 Forbidden: debugging is off: it needs [admin] debug = yes" in terminal.text
        assert gateway.get("/users/1").status == 200


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "expected at least one of path, method, header, client, user, at, on_error"),
        (["--path", "/", "--at", "handlers.py:4", "--on-error"], "on_error: not together with at"),
        (["--attach", "--path", "/"], "path: not together with attach"),
        (["--client", "nowhere"], "client: 'nowhere' is no address and no network"),
        (["--path", "/", "--handler", "tennant"], "unknown handler 'tennant'; did you mean 'tenant'?"),
        (["--path", "/", "--handler", "yes"], "unknown handler 'yes'"),
        (["--path", "/", "--hold", "long"], "hold: "),
    ],
)
def test_a_wrong_rule_is_rejected_with_a_reason(shop, arguments, reason):
    done = command(shop, "--config", str(shop.config), *arguments)
    assert done.returncode == 1
    assert reason in done.stderr


def test_what_is_typed_needs_a_debugger_with_a_request(shop):
    with pytest.raises(AdminError, match="404 Not Found: there is no such debugger"):
        client_of(shop).send("POST", "/v1/debug/nothing", {"input": "c\n"})


def asked_over_tcp(port, token):
    """What the admin listener answers to the operation with this token."""
    body = json.dumps({"path": "/users/*"})
    fields = f"Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
    with socket.create_connection(("127.0.0.1", port), 15) as sock:
        sock.sendall(f"POST /v1/debug HTTP/1.1\r\n{fields}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        return sock.recv(65536).decode()


def command(gateway, *arguments):
    return forked.run(
        [sys.executable, "-m", "gproxy", "debug", *arguments],
        cwd=gateway.folder,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def socket_places(gateway):
    """The unix socket and the port of the admin listener."""
    bind = next(line for line in gateway.config.read_text().splitlines() if "admin.sock" in line)
    path, _, port = bind.removeprefix("bind = unix:").partition(", 127.0.0.1:")
    return path, int(port)
