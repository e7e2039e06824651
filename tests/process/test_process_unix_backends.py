"""gunicorn and nginx behind unix sockets, as they are run on one machine."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[gateway]
handlers = health
[route:r]
upstream = u
[upstream:u]
backends = %s
"""
APP = """
import os
def app(environ, start_response):
    body = environ["wsgi.input"].read() or f"{environ['HTTP_HOST']} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; scgi_temp_path {folder}/s; uwsgi_temp_path {folder}/u;
  server {{ listen unix:{folder}/app.sock; return 200 "$host $connection $connection_requests"; }}
}}
"""


@contextmanager
def server(folder, *command):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually((folder / "app.sock").exists, "the socket")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def test_gunicorn(tmp_path):
    (tmp_path / "wsgi.py").write_text(APP)
    command = [sys.executable, "-m", "gunicorn", "-b", "unix:app.sock", "-k", "gthread", "--threads", "4", "wsgi:app"]
    with server(tmp_path, *command), RunningGateway(INI % f"unix:{tmp_path}/app.sock", tmp_path) as gateway:
        eventually(lambda: gateway.get("/").status == 200, "gunicorn")
        assert gateway.get("/x").body.startswith(b"gateway.test ")
        assert gateway.line("/x")["backend"] == f"unix:{tmp_path}/app.sock"
        body = os.urandom(300_000).hex().encode()
        answer = gateway.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert answer.body == body
        gateway.wait_until_idle()


def test_nginx(tmp_path):
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program, "nginx is not installed; scripts/test installs it"
    conf = tmp_path / "nginx.conf"
    conf.write_text(NGINX.format(folder=tmp_path))
    with server(tmp_path, program, "-e", f"{tmp_path}/error.log", "-c", str(conf)):
        with RunningGateway(INI % f"unix:{tmp_path}/app.sock" + "host = backend", tmp_path) as gateway:
            eventually(lambda: gateway.get("/").status == 200, "nginx")
            answers = [gateway.get("/").body.decode().split() for _ in range(3)]
            assert {host for host, _, _ in answers} == {"localhost"}
            assert len({connection for _, connection, _ in answers}) == 1
            assert [int(count) for *_, count in answers] == [2, 3, 4]
