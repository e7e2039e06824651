"""gproxy beside a plain pywsgi + urllib3 proxy, in interleaved rounds on one core each; ratios count, not times.

Needs nginx (as the backend) and wrk (as the load). Usage: run.py [--rounds 5] [--seconds 2] [SCENARIO ...]
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECRET = "a-secret-for-the-benchmark-of-32-bytes"
SMALL = '{"id": 1, "name": "alice", "email": "alice@example.org", "roles": ["admin", "user"], "created": "2026-01-01"}'
UPLOAD = "wrk.method='POST'\nwrk.body=string.rep('x',1048576)\n"

#: What is asked, over how many connections; handlers that are on besides the rate limit; wrk's script.
SCENARIOS = {
    "small": ("/users/1", 32, "", ""),
    "jwt": ("/users/1", 32, "jwt", ""),
    "json-gzip": ("/users/list.json", 16, "compress", ""),
    "download-1m": ("/users/1m", 8, "", ""),
    "upload-1m": ("/users/upload", 8, "", UPLOAD),
    "close": ("/users/1", 16, "", ""),
}

INI = """
[server]
state_dir = {tmp}/var
[gateway]
handlers = {handlers}
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://127.0.0.1:{backend}
[handler:rate_limit]
limit = 1000000000/minute
[handler:jwt]
secret = {secret}
forward = sub: X-User-ID, role: X-User-Role
[log]
access = {tmp}/access.log
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start_backend(tmp):
    port = free_port()
    www = tmp / "www/users"
    www.mkdir(parents=True)
    (www / "1m").write_bytes(os.urandom(1 << 20))
    (www / "list.json").write_text(json.dumps([{"id": i, "name": f"user{i}", "v": i * 0.37 % 1} for i in range(250)]))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp}/{kind};" for kind in kinds)
    (tmp / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {tmp}/nginx.pid; error_log {tmp}/nginx.err;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 100000000; client_max_body_size 0; client_body_buffer_size 2m; {folders}
  types {{ application/json json; }}
  server {{ listen 127.0.0.1:{port}; root {tmp}/www;
    location = /users/1 {{ default_type application/json; return 200 '{SMALL}'; }}
    location = /users/upload {{ proxy_pass http://127.0.0.1:{port}/users/sink; }}
    location = /users/sink {{ return 204; }} }} }}
""")
    return port, start(["nginx", "-c", str(tmp / "nginx.conf")], port, core=1, log=tmp / "backend.log")


def start(command, port, *, core, log):
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core % os.cpu_count()), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return process
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{command[0]} did not start:\n{log.read_text()}")


def start_peers(tmp, backend, handlers):
    plain, ours = free_port(), free_port()
    (tmp / "gproxy.ini").write_text(
        INI.format(tmp=tmp, backend=backend, secret=SECRET, handlers=", ".join(filter(None, ["rate_limit", handlers])))
    )
    gproxy = [sys.executable, "-m", "gproxy", "--bind", f"127.0.0.1:{ours}", "--config", str(tmp / "gproxy.ini")]
    return {
        "plain": (plain, start([sys.executable, str(HERE / "plain.py"), str(plain), str(backend)], plain, core=0, log=tmp / "plain.log")),
        "gproxy": (ours, start(gproxy, ours, core=0, log=tmp / "gproxy.log")),
    }


def token():
    import jwt

    return jwt.encode({"sub": "u1", "role": "admin", "exp": int(time.time()) + 86400}, SECRET, "HS256")


def load(port, scenario, seconds, tmp):
    """Requests a second; and complain about answers that are none."""
    path, connections, handlers, script = SCENARIOS[scenario]
    command = ["taskset", "-c", str(1 % os.cpu_count()), "wrk", "-t1", f"-c{connections}", f"-d{seconds}"]
    if handlers == "jwt":
        command += ["-H", f"Authorization: Bearer {token()}"]
    if handlers == "compress":
        command += ["-H", "Accept-Encoding: gzip"]
    if scenario == "close":
        command += ["-H", "Connection: close"]
    if script:
        (tmp / "wrk.lua").write_text(script)
        command += ["-s", str(tmp / "wrk.lua")]
    out = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    if bad := re.search(r"Non-2xx or 3xx responses: \d+", out):
        print(f"  {scenario}: {bad[0]}", file=sys.stderr)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def measure(scenario, rounds, seconds, tmp, backend):
    peers = start_peers(tmp, backend, SCENARIOS[scenario][2])
    try:
        for port, _ in peers.values():
            load(port, scenario, 1, tmp)
        pairs = [[load(port, scenario, seconds, tmp) for port, _ in peers.values()] for _ in range(rounds)]
    finally:
        for _, process in peers.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
    ratios = [ours / plain for plain, ours in pairs]
    plain, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{scenario:14}{plain:10.0f}{ours:10.0f}{statistics.median(ratios):9.2f}   [{min(ratios):.2f}..{max(ratios):.2f}]", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    with tempfile.TemporaryDirectory(prefix="gproxy-bench-") as folder:
        tmp = Path(folder)
        tmp.chmod(0o755)
        port, nginx = start_backend(tmp)
        try:
            print(f"{'requests/s':14}{'plain':>10}{'gproxy':>10}{'ratio':>9}   [min..max]")
            for scenario in options.scenarios or SCENARIOS:
                measure(scenario, options.rounds, options.seconds, tmp, port)
        finally:
            nginx.terminate()
            nginx.wait()


main()
