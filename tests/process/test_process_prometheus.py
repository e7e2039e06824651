"""A real Prometheus scrapes a gateway under load, and answers every query of the dashboard with data."""

import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = """
import time


def fragile(request, next):
    if request.path == "/users/broken":
        raise ValueError("broken")
    if request.path == "/users/block":
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
    return next(request)


class Kept:
    def open(self, runtime):
        runtime.table("kept", max_keys=10, ttl="1m")

    def __call__(self, request, next):
        return next(request)


def app(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return [b""]


def job(runtime):
    pass
"""
INI = """
[gateway]
handlers = metrics
timeout = 10s
[admin]
bind = unix:FOLDER/admin.sock
[handler:metrics]
[handler:rate_limit]
limit = 100000/second
[handler:api_key]
keys = FOLDER/keys
optional = yes
[handler:fragile]
use = handlers:fragile
on_error = skip
[handler:tried]
use = rate_limit
limit = 1/hour
mode = report
[handler:kept]
use = handlers:Kept
[job:one]
use = handlers:job
every = 1s
[route:app]
path = /app
app = handlers:app
offload = yes
upstream = users
fallthrough = 404
[route:users]
path = /users
handlers = rate_limit, tried, kept, api_key, fragile
upstream = users
[upstream:users]
backends = URL
max_requests = 1
queue = 50
breaker = yes
[tls:a]
certificate = a.test.crt
key = a.test.key
[log]
access = off
"""
PROMETHEUS = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: gproxy
    static_configs:
      - targets: ["127.0.0.1:PORT"]
"""


@contextmanager
def prometheus(folder, gateway_port):
    assert shutil.which("prometheus"), "prometheus is not installed; scripts/install test installs it"
    (folder / "prometheus.yml").write_text(PROMETHEUS.replace("PORT", str(gateway_port)))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)
    try:
        yield port
    finally:
        process.kill()
        process.communicate()


def has_data(port, expression):
    """Return whether Prometheus answers the query with a number."""
    query = expression.replace("$__rate_interval", "10s").replace("$job", ".*").replace("$instance", ".*")
    url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
    except OSError:
        return False  # it is not ready
    return any(series["value"][1] != "NaN" for series in found)


@contextmanager
def load(gateway):
    """Ask on four connections: most requests wait in the queue, some fail, some block the event loop."""
    stop = threading.Event()

    def ask(number):
        while not stop.is_set():
            for path in ["/users/1"] * 20 + ["/users/broken", "/users/block"][number % 2 :][:1] + ["/app"]:
                gateway.get(path)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def slow(peer, request):
    time.sleep(0.002)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def test_prometheus_answers_each_query_of_the_dashboard_with_data(tmp_path):
    Authority(tmp_path).issue("a.test")
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "keys").write_text("")
    panels = json.loads((ROOT / "etc/grafana/gproxy.json").read_text())["panels"]
    missing = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(missing) > 40
    with Actor(slow) as backend:
        ini = INI.replace("FOLDER", str(tmp_path)).replace("URL", backend.url)
        arguments = "--bind", f"127.0.0.1:{free_port()} tls"
        with RunningGateway(ini, tmp_path, *arguments) as gateway, load(gateway):
            with prometheus(tmp_path, gateway.port) as port:

                def are_answered():
                    missing[:] = [expression for expression in missing if not has_data(port, expression)]
                    time.sleep(0.5)
                    return not missing

                try:
                    eventually(are_answered, "data for all queries")
                finally:
                    assert missing == []
