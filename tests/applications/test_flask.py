"""Flask under gunicorn, with its sync and its gthread workers, behind the gateway's defaults."""

import hashlib
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import requests
from programs import gunicorn, in_front_of

from gproxy.testing.gateway import PATIENCE, Wire

WORKERS = {"sync": ("--worker-class", "sync"), "gthread": ("--worker-class", "gthread", "--threads", "4")}
REPORTS = """
[route:reports]
path = /reports
timeout = 10s
upstream = app
[route:files]
path = /files
upstream = app
buffer_response = 20MB
"""
#: More than the systems between gateway and client hold.
LARGE = 8_000_000


@pytest.fixture(scope="module", params=WORKERS)
def shop(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "large").write_bytes(bytes(LARGE))
    with gunicorn(folder, "flask_shop:app", *WORKERS[request.param]) as port:
        with in_front_of(port, folder, REPORTS) as gateway:
            gateway.url = f"http://127.0.0.1:{gateway.port}"
            yield gateway


def test_a_form_with_a_file(shop):
    body = os.urandom(3_000_000)
    files = {"file": ("photo ü.jpg", body, "image/jpeg")}
    answer = requests.post(f"{shop.url}/form", files=files, data={"note": "für dich"}, timeout=20)
    assert answer.json() == {"name": "photo ü.jpg", "sha256": hashlib.sha256(body).hexdigest(), "note": "für dich"}


def test_an_upload_without_a_length(shop):
    pieces = [os.urandom(50_000) for _ in range(20)]
    answer = requests.put(f"{shop.url}/raw", data=iter(pieces), timeout=20)
    assert answer.json()["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert answer.json()["size"] == 1_000_000


def test_a_client_that_uploads_slower_than_the_timeout(shop):
    """A piece every half second: the backend gets it, or the gateway waits for the client; nobody is silent."""

    def pieces():
        for _ in range(8):
            time.sleep(0.5)
            yield b"x" * 20_000

    answer = requests.put(f"{shop.url}/raw", data=pieces(), timeout=20)
    assert answer.json()["size"] == 160_000


def test_slow_clients_leave_both_workers_to_others(shop):
    """Four uploads and four downloads that stand still; another client gets its response within 100 ms."""
    with ExitStack() as stack:
        uploads, downloads = [stack.enter_context(slow_client(shop)) for _ in range(4)], []
        for wire in uploads:
            wire.send("PUT /raw HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n" + 999 * "x")
        for _ in range(4):
            wire = stack.enter_context(slow_client(shop))
            wire.send("GET /files/large HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
            downloads.append(wire)
        shop.wait_until_idle()
        times = []
        for _ in range(9):
            began = time.monotonic()
            assert requests.get(f"{shop.url}/private", timeout=20).status_code == 401
            times.append(time.monotonic() - began)
        assert sorted(times)[4] < 0.1
        for wire in uploads:
            wire.send("x")
            assert json.loads(wire.read_response().body)["size"] == 1000
        assert [len(wire.read_exactly(LARGE)) for wire in downloads] == [LARGE] * 4


def slow_client(shop):
    """Return the connection of a client whose system takes little before the client reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", shop.port))
    return Wire(sock)


def test_a_stream_that_lasts_longer_than_the_timeout(shop):
    began = time.monotonic()
    with requests.get(f"{shop.url}/stream?lines=8", stream=True, timeout=20) as answer:
        arrivals = [(line, time.monotonic() - began) for line in answer.iter_lines(chunk_size=1)]
    assert [line for line, _ in arrivals] == [b"line %d" % number for number in range(8)]
    assert arrivals[0][1] < 2 < 3 < arrivals[-1][1]  # each line as it is sent, the last ones after the timeout


def test_a_login_with_cookies_and_an_absolute_redirect(shop):
    with requests.Session() as browser:
        answer = browser.post(f"{shop.url}/login", data={"user": "alice"}, timeout=20)
        assert [old.status_code for old in answer.history] == [302]
        assert answer.json() == {"user": "alice", "theme": "dark", "url": f"{shop.url}/account"}
        assert set(browser.cookies.keys()) == {"session", "theme"}
        assert browser.get(f"{shop.url}/account", timeout=20).json()["user"] == "alice"


def test_the_application_may_check_passwords_itself(shop):
    assert requests.get(f"{shop.url}/private", auth=("alice", "wonder"), timeout=20).text == "alice"
    answer = requests.get(f"{shop.url}/private", timeout=20)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="shop"')


def test_work_in_silence_is_bounded_and_a_route_may_allow_more(shop):
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        report = pool.submit(requests.get, f"{shop.url}/reports?seconds=3.5", timeout=20)
        answer = requests.get(f"{shop.url}/work?seconds=3.5", timeout=20)
        assert (answer.status_code, answer.json()["status"]) == (504, 504)
        assert 2.9 < time.monotonic() - began < 3.5
        assert report.result().text == "done"
