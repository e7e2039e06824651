"""A browser over HTTP/2: Chromium loads a page, uploads, reads events and speaks WebSocket, all over one connection."""

import json
import threading
from types import SimpleNamespace

import pytest
from playwright.sync_api import sync_playwright
from test_process_page import OPTIONS, chromium
from websockets.sync.server import serve

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, free_port

INI = """
[gateway]
handlers = compress, health
[handler:health]
cache = 0s
[route:socket]
path = /socket
upstream = socket
[route:all]
path = /
upstream = one
[upstream:one]
backends = {one}
[upstream:socket]
backends = http://127.0.0.1:{socket}
[tls:gateway]
certificate = {certificate}
key = {key}
"""
PAGE = b"<!doctype html><title>page</title><script src=/script.js></script>"
#: What runs in the page: each function returns a promise.
FETCHES = """async () => {
    const answers = await Promise.all([...Array(50).keys()].map((n) => fetch(`/items/${n}`)));
    return Promise.all(answers.map(async (one) => [one.status, (await one.json()).path]));
}"""
UPLOAD = """async (size) => {
    const answer = await fetch("/upload", {method: "POST", body: new Uint8Array(size).fill(7)});
    return [answer.status, await answer.json()];
}"""
EVENTS = """() => new Promise((resolve, reject) => {
    const source = new EventSource("/events"), got = [];
    source.onmessage = (event) => {
        got.push(event.data);
        if (got.length === 3) { source.close(); resolve(got); }
    };
    source.onerror = () => reject("error");
})"""
SOCKET = """() => new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/socket`), got = [];
    socket.onopen = () => ["one", "two", "x".repeat(100000), "close"].forEach((text) => socket.send(text));
    socket.onmessage = (event) => got.push(event.data.length);
    socket.onclose = (event) => resolve([got, event.code, event.reason]);
    socket.onerror = () => reject("error");
})"""
PROTOCOLS = "() => performance.getEntries().map((one) => one.nextHopProtocol).filter((name) => name !== undefined)"

pytestmark = pytest.mark.timeout(120)


def act(peer, request):
    """Answer as a site does: a page, a script, JSON, and events."""
    peer.read_body(request)
    path = request.line.split(" ")[1]
    kind, body = "application/json", json.dumps({"path": path, "size": len(request.body)}).encode()
    if path == "/":
        kind, body = "text/html", PAGE
    elif path == "/script.js":
        kind, body = "text/javascript", b"document.title = 'loaded'"
    elif path == "/events":
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            event = b"data: %d\n\n" % number
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
        peer.is_closed()
        peer.close()
        return
    peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def echo(socket):
    for message in socket:
        if message == "close":
            socket.close(4001, "as asked")
            return
        socket.send(message)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    certificate, key = Authority(folder).issue("localhost")
    server = serve(echo, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = free_port()
    with Actor(act) as one:
        ini = INI.format(one=one.url, socket=server.socket.getsockname()[1], certificate=certificate, key=key)
        with RunningGateway(ini, folder, "--bind", f"127.0.0.1:{port} tls") as gateway:
            yield SimpleNamespace(url=f"https://localhost:{port}/", access=gateway.access, line=gateway.line)
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def page(gateway):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(OPTIONS))
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(gateway.url)
        yield page
        browser.close()


def test_a_page_with_its_script(page, gateway):
    assert page.title() == "loaded"
    assert {line["protocol"] for line in gateway.access() if line["path"] in {"/", "/script.js"}} == {"HTTP/2.0"}


def test_many_fetches_at_once(page):
    assert page.evaluate(FETCHES) == [[200, f"/items/{number}"] for number in range(50)]


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_an_upload(page, size):
    assert page.evaluate(UPLOAD, size) == [200, {"path": "/upload", "size": size}]


def test_an_event_source(page, gateway):
    assert page.evaluate(EVENTS) == ["0", "1", "2"]
    line = gateway.line("/events")
    assert (line["reason"], line["protocol"]) == ("client_gone", "HTTP/2.0")  # the page closes the source


def test_a_websocket(page, gateway):
    """RFC 8441: Chromium sends CONNECT on the connection of the page if our SETTINGS allow that."""
    assert page.evaluate(SOCKET) == [[3, 3, 100_000], 4001, "as asked"]
    assert gateway.line("/socket")["protocol"] == "HTTP/2.0"


def test_the_browser_says_that_all_was_http2(page):
    assert set(page.evaluate(PROTOCOLS)) <= {"h2", ""}
    assert "h2" in page.evaluate(PROTOCOLS)
