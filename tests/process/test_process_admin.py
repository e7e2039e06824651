"""The admin listener of a real gateway: it is there when asked for, tells the state, and admits only who may."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess

import pytest
from admin_listener import GREETING, client_of, monitors, status_of, two_workers

from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.testing.gateway import RunningGateway, Wire, eventually, free_port

#: A handler that cannot open while there is a file `no`: a reload then fails late.
LATE = """
from pathlib import Path

class Late:
    def open(self, runtime):
        if Path("no").exists():
            raise ValueError("not now")

    def __call__(self, request, next):
        return next(request)
"""


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    with RunningGateway(two_workers(), tmp_path_factory.mktemp("admin")) as gateway:
        status_of(client_of(gateway))
        yield gateway


def test_an_operator_sees_both_workers(admin):
    status = client_of(admin).get("/v1/status")
    assert [worker["worker"] for worker in status["workers"]] == [1, 2]
    assert [worker["pid"] for worker in status["workers"]] == admin.workers
    assert all(worker["answers"] and worker["memory"] > 1_000_000 for worker in status["workers"])


def test_the_socket_is_for_its_owner_only(admin):
    assert stat.S_IMODE(os.stat(admin.folder / "admin.sock").st_mode) == 0o600


@pytest.mark.parametrize(("mode", "folder"), [("0600", 0o700), ("0660", 0o755)])
def test_the_folder_of_the_socket_is_made(tmp_path, mode, folder):
    with RunningGateway(two_workers("unix:{tmp}/run/gproxy/admin.sock", f"mode = {mode}\n"), tmp_path) as gateway:
        status_of(client_of(gateway))
        assert stat.S_IMODE((tmp_path / "run/gproxy").stat().st_mode) == folder
        assert stat.S_IMODE((tmp_path / "run/gproxy/admin.sock").stat().st_mode) == int(mode, 8)


def test_a_folder_of_the_socket_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "run").write_text("no folder")
    gateway = RunningGateway(two_workers("unix:{tmp}/run/admin.sock"), tmp_path)
    with pytest.raises(AssertionError, match=r"\[admin\] bind: cannot make the folder .*/run: "), gateway:
        pass


def test_curl_gets_an_answer_and_a_problem_for_an_unknown_operation(admin):
    def curl(path):
        command = ["curl", "-s", "--unix-socket", f"{admin.folder}/admin.sock", f"http://localhost{path}"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    assert curl("/v1/status")["generation"] >= 1
    assert curl("/v1/statu")["status"] == 404
    assert "unknown parameter 'x'" in curl("/v1/status?x=1")["detail"]


def test_a_killed_monitor_is_replaced_and_no_request_notices(admin):
    (before,) = monitors(admin)
    os.kill(before, signal.SIGKILL)
    assert admin.get("/").status == 200
    eventually(lambda: monitors(admin) not in ([], [before]), "another monitor")
    assert len(status_of(client_of(admin))["workers"]) == 2
    assert "was killed by SIGKILL; starting another one" in admin.wait_for_line("monitor (pid")


def test_tcp_needs_the_token_that_the_gateway_has_made(tmp_path):
    port = free_port()
    with RunningGateway(two_workers(f"127.0.0.1:{port}"), tmp_path) as gateway:
        gateway.wait_for_line("monitor: serves on")
        token = (tmp_path / "var" / "admin.token").read_text().strip()
        assert AdminClient(f"http://127.0.0.1:{port}", token).get("/v1/status")["generation"] == 1
        for wrong in ("", "x" * 86):
            with pytest.raises(AdminError, match="401"):
                AdminClient(f"http://127.0.0.1:{port}", wrong).get("/v1/status")


def test_without_the_section_there_is_no_monitor(tmp_path):
    with RunningGateway(f"[log]\naccess = off\n{GREETING}", tmp_path) as gateway:
        assert gateway.get("/").status == 200
        assert monitors(gateway) == []


def test_a_reload_turns_the_listener_on_and_off(tmp_path):
    with RunningGateway(f"[server]\nworkers = 2\n[log]\naccess = off\n{GREETING}", tmp_path) as gateway:
        text = gateway.config.read_text()
        gateway.config.write_text(two_workers().replace("{tmp}", str(tmp_path)))
        gateway.reload()
        client = AdminClient(f"unix:{tmp_path}/admin.sock")
        assert status_of(client)["generation"] == 2
        gateway.reload()
        eventually(lambda: status_of(client)["generation"] == 3, "the next generation")
        gateway.config.write_text(text)
        gateway.reload()
        eventually(lambda: monitors(gateway) == [], "the end of the monitor")
        assert not (tmp_path / "admin.sock").exists()


def test_a_reload_changes_the_permissions_of_the_socket_only_if_it_succeeds(tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    with RunningGateway(
        two_workers(more="[handler:late]\nuse = late:Late\n[gateway]\nhandlers = late\n"), tmp_path
    ) as gateway:
        status_of(client_of(gateway))
        (tmp_path / "no").touch()
        gateway.config.write_text(gateway.config.read_text().replace("[admin]", "[admin]\nmode = 0666"))
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_line("reload failed")
        assert stat.S_IMODE(os.stat(tmp_path / "admin.sock").st_mode) == 0o600
        (tmp_path / "no").unlink()
        gateway.reload()
        assert stat.S_IMODE(os.stat(tmp_path / "admin.sock").st_mode) == 0o666


def test_an_address_that_may_not_connect_cannot_keep_operators_out(tmp_path):
    port = free_port()
    with RunningGateway(two_workers(f"127.0.0.1:{port}", "allow = 127.0.0.1\n"), tmp_path) as gateway:
        gateway.wait_for_line("monitor: serves on")
        client = AdminClient(f"http://127.0.0.1:{port}", (tmp_path / "var" / "admin.token").read_text().strip())
        with contextlib.ExitStack() as held:
            for _ in range(210):
                held.enter_context(socket.create_connection(("127.0.0.1", port), 15, ("127.0.0.9", 0)))
            assert client.get("/v1/status")["generation"] == 1


def test_a_host_of_a_stranger_costs_the_monitor_little(tmp_path):
    down = "[route:down]\npath = /down\nupstream = down\n[upstream:down]\nbackends = http://127.0.0.1:1\n"
    with RunningGateway(two_workers(more=down), tmp_path) as gateway:
        client = client_of(gateway)
        status_of(client)
        with Wire(socket.create_connection(("127.0.0.1", gateway.port))) as wire:
            wire.send(f"GET /down HTTP/1.1\r\nHost: {'h' * 7000}\r\n\r\n")
            assert wire.read_response().status == 502
        eventually(lambda: client.get("/v1/recent")["requests"], "the failed request")
        assert client.get("/v1/recent")["requests"][0]["host"] == "h" * 255
