"""An ASGI application under uvicorn: WebSockets, events and kept connections behind the gateway's defaults."""

import json
import time

import pytest
import requests
from programs import background, in_front_of, required, uvicorn
from websockets.sync.client import connect

from gproxy.testing.gateway import eventually


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uvicorn")
    with uvicorn(folder, "chat_asgi:app", "--timeout-keep-alive", "1") as port, in_front_of(port, folder) as gateway:
        gateway.url = f"http://127.0.0.1:{gateway.port}"
        yield gateway


def test_a_websocket_that_is_silent_for_longer_than_the_timeout(chat):
    with connect(f"ws://127.0.0.1:{chat.port}/chat") as socket:
        for message in ("hello ü", b"\0" * 200_000):
            socket.send(message)
            assert socket.recv(timeout=10) == message
        with pytest.raises(TimeoutError):
            socket.recv(timeout=3.4)
        socket.send("still there")
        assert socket.recv(timeout=10) == "still there"
    line = chat.line("/chat")
    assert (line["status"], line["reason"]) == ("101", "-")


def test_events_that_pause_for_longer_than_the_timeout(chat):
    began = time.monotonic()
    with requests.get(f"{chat.url}/events?pause=3.4", stream=True, timeout=20) as answer:
        assert "Content-Encoding" not in answer.headers  # requests offers gzip; an event stream is not compressed
        found = [(line, time.monotonic() - began) for line in answer.iter_lines(chunk_size=1) if b"data" in line]
    assert [line for line, _ in found] == [b"data: number 1", b"data: number 2"]
    assert found[0][1] < 1 < 3.4 <= found[1][1]


def test_posts_about_when_uvicorn_closes_idle_connections(chat):
    """Posts are not sent again; after one such end at most, the gateway knows when uvicorn closes."""
    statuses = []
    with requests.Session() as client:
        for _ in range(5):
            statuses.append(client.post(f"{chat.url}/count", data=b"12345", timeout=20).status_code)
            time.sleep(1)
    assert statuses.count(502) <= 1
    assert set(statuses) <= {200, 502}


def test_a_browser_with_events_a_websocket_an_upload_and_a_cookie(chat, tmp_path):
    """The stream of events pauses, ends, and the browser comes back with Last-Event-ID."""
    chromium = required("chromium-headless-shell", "chromium", "google-chrome")
    options = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--remote-debugging-port=0", f"--user-data-dir={tmp_path}",
    )  # fmt: skip
    report = chat.folder / "report.json"
    with background(tmp_path, chromium, *options, f"{chat.url}/"):
        eventually(report.exists, "the report of the browser")
    assert json.loads(report.read_text()) == {
        "events": [f"{number}:number {number}" for number in (1, 2, 3, 4)],
        "opened": 2,
        "errors": 1,  # the end of the first stream, after which the browser comes back
        "echo": "hello ü",
        "cookie": "visitor=7",
        "stored": 300_000,
    }
