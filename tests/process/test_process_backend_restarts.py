"""Real nginx processes as backends, stopped and started again: what clients get meanwhile, and what /health says."""

import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from gproxy.testing.gateway import RunningGateway, eventually, free_port

CONF = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; scgi_temp_path {folder}/s; uwsgi_temp_path {folder}/u;
  server {{
    listen 127.0.0.1:{port};
    location /alive {{ return 200 '{{"status": "ok"}}'; }}
    location / {{ return 200 '{port}'; }}
  }}
}}
"""
INI = """
[gateway]
handlers = health
[handler:health]
cache = 0s
[route:probed]
path = /probed
upstream = probed
[route:asked]
path = /asked
upstream = asked
[upstream:probed]
backends = http://127.0.0.1:{one}, http://127.0.0.1:{two}
health_path = /alive
health_body = "status": "ok"
health_interval = 100ms
rise = 1
fall = 2
[upstream:asked]
backends = http://127.0.0.1:{one}, http://127.0.0.1:{two}
eject_time = 500ms
"""


class Nginx:
    """One that can be stopped and started."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert self.program, "nginx is not installed; scripts/test installs it"
        folder.mkdir()
        for path in (folder, *folder.parents):
            if path.stat().st_uid == os.getuid() and "pytest" in str(path):
                path.chmod(0o755)  # its worker is another user, if we are root
        (folder / "nginx.conf").write_text(CONF.format(folder=folder, port=self.port))
        self.start()

    def start(self):
        command = [self.program, "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        eventually((self.folder / "nginx.pid").exists, "nginx")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)
        eventually(lambda: not (self.folder / "nginx.pid").exists(), "its end")


@pytest.fixture
def scene(tmp_path):
    servers = [Nginx(tmp_path / name) for name in ("one", "two")]
    try:
        with RunningGateway(INI.format(one=servers[0].port, two=servers[1].port), tmp_path) as gateway:
            yield gateway, *servers
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.stop()


def states(gateway, upstream):
    return [backend["state"] for backend in gateway.health()["upstreams"][upstream]]


def test_an_nginx_that_is_stopped_and_started_again(scene):
    gateway, one, two = scene
    eventually(lambda: states(gateway, "probed") == ["healthy"] * 2, "probed")

    def ports(upstream):
        answers = [gateway.get(f"/{upstream}") for _ in range(8)]
        assert {answer.status for answer in answers} == {200}
        return {int(answer.body) for answer in answers}

    for _ in range(2):
        assert ports("probed") == ports("asked") == {one.port, two.port}
        one.stop()
        assert ports("asked") == {two.port}
        assert states(gateway, "asked") == ["unhealthy", "healthy"]
        eventually(lambda: states(gateway, "probed") == ["unhealthy", "healthy"], "found out")
        (out, _) = gateway.health()["upstreams"]["probed"]
        assert out["why"] == "connect_refused"
        assert ports("probed") == {two.port}
        one.start()
        eventually(lambda: states(gateway, "probed") == ["healthy"] * 2, "found again")
        eventually(lambda: one.port in ports("asked"), "tried again")
        assert states(gateway, "asked") == ["healthy"] * 2
    assert {line["status"] for line in gateway.access() if "health" not in line["path"]} == {"200"}
    gateway.wait_until_idle()


def test_an_nginx_that_is_frozen_fails_its_probes(scene):
    """It accepts, because the kernel does, and never answers."""
    gateway, one, _ = scene
    eventually(lambda: states(gateway, "probed") == ["healthy"] * 2, "probed")
    worker = psutil.Process(one.process.pid).children()[0]
    worker.suspend()
    try:
        eventually(lambda: states(gateway, "probed") == ["unhealthy", "healthy"], "found out")
        assert gateway.health()["upstreams"]["probed"][0]["why"] == "timeout"
        started = time.monotonic()
        assert gateway.get("/probed").status == 200
        assert time.monotonic() - started < 1
    finally:
        worker.resume()
    eventually(lambda: states(gateway, "probed") == ["healthy"] * 2, "found again")
