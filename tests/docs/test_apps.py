"""Each example of docs/apps.md runs as it is written, with the real frameworks."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest

from gproxy.testing.gateway import RunningGateway

PAGE = (Path(__file__).resolve().parents[2] / "docs/apps.md").read_text()
EXAMPLES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
SECRET = "a secret of at least thirty-two bytes"


@pytest.fixture
def started(tmp_path):
    """Start a gateway with the files of an example; other addresses may take the places of those in it."""

    def start(title, addresses=()):
        (settings,) = re.findall(r"^```ini\n(.*?)^```", EXAMPLES[title], re.M | re.S)
        (code,) = re.findall(r"^```python\n(.*?)^```", EXAMPLES[title], re.M | re.S)
        module = re.search(r"^app = (\w+):", settings, re.M)[1]
        (tmp_path / f"{module}.py").write_text(code)
        for old, new in addresses:
            settings = settings.replace(old, new)
        return RunningGateway(settings, tmp_path, environ={"JWT_SECRET": SECRET})

    return start


def test_flask(started):
    with started("Flask") as gateway:
        assert gateway.get("/shop/cart", "X-User-ID: mallory").status == 401
        token = jwt.encode({"sub": "alice", "exp": 4_000_000_000}, SECRET, "HS256")
        answer = gateway.get("/shop/cart", f"Authorization: Bearer {token}", "X-User-ID: mallory", "X_User_ID: mallory")
        assert json.loads(answer.body) == {"user": "alice", "client": "127.0.0.1"}
        assert gateway.get("/health").status == 200
        line = gateway.line("/shop/cart")
        assert (line["user"], line["backend"], line["upstream"]) == ("alice", "app", "-")


def test_a_factory(started):
    with started("A factory") as gateway:
        assert gateway.get("/").body == b"made"


def test_django(started):
    with started("Django") as gateway:
        answer = gateway.get("/address?a=b")
        assert json.loads(answer.body) == {"url": "http://gateway.test/address?a=b", "client": "127.0.0.1"}


def test_fastapi(started):
    with started("FastAPI") as gateway:
        assert gateway.get("/items/7").body == b'{"number":7}'
        assert gateway.get("/items/seven").status == 422


class Old(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_fall_through(started):
    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with started(
            "Move an old service URL by URL", [("127.0.0.1:5001", f"127.0.0.1:{server.server_port}")]
        ) as gateway:
            for path, body in (("/orders", b'{"by":"the new app"}\n'), ("/carts", b"abc")):
                head = f"POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\n"
                assert gateway.ask(head + "abc").body == body
        server.shutdown()
        thread.join()


def test_threads(started):
    with started("Blocking drivers") as gateway:
        assert gateway.get("/reports").body == b"http://gateway.test/"
