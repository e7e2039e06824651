"""A real nginx as the backend."""

import hashlib
import json
import subprocess

from nginx_process import nginx
from shipped import UNLIMITED, curl, shipped

from gproxy.testing.gateway import RunningGateway, free_port

BUSY = """server {{ listen 127.0.0.1:{port}; add_header Retry-After 0 always; return 503 "too much to do"; }}"""


def test_a_real_nginx_behind_the_gateway(tmp_path):
    port = free_port()
    text = shipped(
        [port] * 3, UNLIMITED, (f"http://localhost:{port}, http://localhost:{port}", f"http://localhost:{port}")
    )
    with nginx(tmp_path, port), RunningGateway(text, tmp_path) as gateway:
        token = subprocess.run(
            [*gateway._command[:3], "token", "--config", str(gateway.config), "--sub", "alice"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.strip()
        url = f"http://127.0.0.1:{gateway.port}/users"
        bearer = ("--header", f"Authorization: Bearer {token}")

        said = json.loads(curl(*bearer, f"{url}/said"))
        assert said == {"user": "alice", "for": "127.0.0.1", "host": "127.0.0.1"}
        assert b"\r\nLocation: http://127.0.0.1" in curl(*bearer, "--include", f"{url}/moved")

        plain = (tmp_path / "www/users/plain.txt").read_bytes()
        assert curl(*bearer, "--compressed", f"{url}/plain.txt") == plain
        head = curl(*bearer, "--head", "--compressed", f"{url}/plain.txt")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert curl(*bearer, "--range", "0-9", "--compressed", f"{url}/plain.txt") == plain[:10]

        # nginx closes after three requests on a connection: none of fifty may notice.
        codes = curl(*bearer, "--write-out", "%{http_code} ", "--output", "/dev/null", f"{url}/plain.txt?[1-50]")
        assert codes.split() == [b"200"] * 50

        big = (tmp_path / "www/users/big.bin").read_bytes()
        assert hashlib.sha256(curl(*bearer, f"{url}/big.bin")).digest() == hashlib.sha256(big).digest()
        source = str(tmp_path / "www/users/big.bin")
        missing = curl(*bearer, "--write-out", "%{http_code}", "--output", "/dev/null", f"{url}/none.txt")
        assert missing == b"404"
        too_much = curl(
            *bearer, "--upload-file", source, "--write-out", "%{http_code}", "--output", "/dev/null", f"{url}/plain.txt"
        )
        assert too_much == b"405"


RETRIES = """
[gateway]
handlers = health
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://127.0.0.1:{port}, http://127.0.0.1:{busy}
retry_on = stale, reset, 503
retry_after = yes
retry_budget = none
max_fails = 0
"""


def test_an_nginx_that_is_too_busy_and_one_that_closes_after_three(tmp_path):
    """Two backends, one of which always says 503: nobody hears of it, and each says what was tried."""
    port, busy = free_port(), free_port()
    text = RETRIES.format(port=port, busy=busy)
    with nginx(tmp_path, port, BUSY.format(port=busy)), RunningGateway(text, tmp_path) as gateway:
        with gateway.connect() as wire:
            for _ in range(40):
                wire.send("GET /users/said HTTP/1.1\r\nHost: a\r\n\r\n")
                assert json.loads(wire.read_response().body)["host"] == "a"
            for _ in range(4):
                wire.send("POST /users/said HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                answer = wire.read_response()
                assert (answer.status, answer["retry-after"]) in [(200, None), (503, "0")]
        lines = [line for line in gateway.access(44) if line["route"] == "users"]
        seen = {(line["method"], line["tries"], line["status"]) for line in lines}
        assert seen - {("POST", "1", "200")} == {("GET", "1", "200"), ("GET", "2", "200"), ("POST", "1", "503")}
        gateway.wait_until_idle()
