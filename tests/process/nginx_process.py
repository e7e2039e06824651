"""A real nginx with a few files, for tests that put it behind the gateway or beside it."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

from gproxy.testing.gateway import eventually

CONF = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; scgi_temp_path {folder}/s; uwsgi_temp_path {folder}/u; keepalive_requests 3;
  types {{ text/plain txt; application/octet-stream bin; }}
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    location /users/said {{ default_type application/json; return 200 '{{"user": "$http_x_user_id", "for": "$http_x_forwarded_for", "host": "$host"}}'; }}
    location /users/moved {{ return 301 /users/said; }}
  }}
  {more}
}}
"""


@contextmanager
def nginx(folder, port, more=""):
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program, "nginx is not installed; scripts/test installs it"
    (folder / "www/users").mkdir(parents=True)
    (folder / "www/users/plain.txt").write_text("plain text of nginx\n" * 500)
    (folder / "www/users/big.bin").write_bytes(os.urandom(3_000_000))
    user = ("-g", "user root;") if os.getuid() == 0 else ()  # another user may not read the folders of tests
    (folder / "nginx.conf").write_text(CONF.format(folder=folder, port=port, more=more))
    process = subprocess.Popen(
        [program, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", *user], stderr=subprocess.DEVNULL
    )
    try:
        eventually((folder / "nginx.pid").exists, "nginx")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
