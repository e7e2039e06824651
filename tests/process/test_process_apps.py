"""WSGI apps as routes, from outside: real processes, sockets, signals and clients that leave."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import forked
import pytest

from gproxy.testing.gateway import RunningGateway, eventually, free_port

HERE = Path(__file__).parent
SETTINGS = """
[server]
threads = 2
[gateway]
timeout = 2s
handlers = health, metrics
[handler:health]
cache = 0s
[handler:metrics]
[route:shop]
path = /
app = shop_app:application
[route:small]
path = /small
strip_prefix = yes
app = shop_app:application
max_body = 10
[route:threads]
path = /threads
strip_prefix = yes
app = shop_app:application
offload = yes
timeout = 1s
[route:spoilt]
path = /spoilt
app = shop_app:spoil()
strip_prefix = yes
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apps")
    shutil.copy(HERE / "shop_app.py", folder)
    (folder / "large").write_bytes(b"y" * 3_000_000)
    with RunningGateway(SETTINGS, folder, environ={"TZ": "America/New_York"}) as running:
        yield running
    assert running.process.returncode == 0


def seen(answer):
    return dict(line.partition("=")[::2] for line in answer.body.decode("latin-1").split("\n"))


@pytest.fixture(params=["", "/threads"])
def way(request):
    """The app in the greenlet of the request, and in a thread."""
    return request.param


def memory_of(gateway):
    text = Path(f"/proc/{gateway.workers[0]}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) // 1024


def test_the_app_sees_the_client_and_no_spoofed_field(gateway):
    found = seen(gateway.get("/seen?a=b", "X-Forwarded-For: 1.2.3.4", "X_Real_IP: 1.2.3.4", "X-Real-IP: 1.2.3.4"))
    assert (found["REMOTE_ADDR"], found["HTTP_X_REAL_IP"], found["HTTP_X_FORWARDED_FOR"]) == ("127.0.0.1",) * 3
    assert (found["HTTP_HOST"], found["QUERY_STRING"]) == ("gateway.test", "a=b")
    line = gateway.line("/seen")
    assert (line["backend"], line["upstream"], line["route"], line["id"]) == (
        "app", "-", "shop", found["HTTP_X_REQUEST_ID"],
    )  # fmt: skip


def test_a_gigabyte_up_with_flat_memory(gateway):
    """A third of it with a length, the rest chunked; the memory of the worker grows by less than 30 MB."""
    before = memory_of(gateway)
    piece = b"x" * 65536
    for total, head in ((5000, "Content-Length: %d" % (5000 * 65536)), (10_000, "Transfer-Encoding: chunked")):
        with gateway.connect() as wire:
            wire.send(f"POST /size HTTP/1.1\r\nHost: shop\r\n{head}\r\n\r\n")
            chunk = b"10000\r\n%b\r\n" % piece if "chunked" in head else piece
            for _ in range(total):
                wire.send(chunk)
            if "chunked" in head:
                wire.send(b"0\r\n\r\n")
            assert wire.read_response().body == str(total * 65536).encode()
    assert memory_of(gateway) - before < 30


def test_a_gigabyte_down_with_flat_memory(gateway):
    before = memory_of(gateway)
    with gateway.connect() as wire:
        wire.send("GET /down?16384 HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert b"Content-Length: 1073741824" in wire.read_until(b"\r\n\r\n")
        left = 1024**3 - len(wire.buffer)
        while left:
            left -= len(wire.sock.recv(1 << 20))
    assert memory_of(gateway) - before < 30


def test_a_chunked_upload(gateway, way):
    with gateway.connect() as wire:
        wire.send(f"POST {way}/seen HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wire.send("3\r\ndef\r\n0\r\n\r\n")
        found = seen(wire.read_response())
    assert found["body"] == hashlib.sha256(b"abcdef").hexdigest()
    assert (found["HTTP_TRANSFER_ENCODING"], "CONTENT_LENGTH" in found) == ("chunked", False)


def test_events_arrive_at_once_and_the_end_of_the_client_ends_the_generator(gateway, way):
    with gateway.connect() as wire:
        began = time.monotonic()
        wire.send(f"GET {way}/events?3 HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert b"data: 0\n\n" in wire.read_until(b"data: 0\n\n")
        assert b"data: 1\n\n" in wire.read_until(b"data: 1\n\n")  # after the timeout of the route
        assert time.monotonic() - began > 2.5
    eventually(lambda: b"events" in gateway.get("/ends").body, "the end of the generator")
    assert gateway.line(f"{way}/events")["status"] in {"200", "499"}


def test_two_cookies_stay_two(gateway):
    answer = gateway.get("/cookies")
    assert [value for name, value in answer.fields if name == "set-cookie"] == ["a=1", "b=2"]


def test_a_file_by_the_wrapper(gateway, way):
    assert gateway.get(f"{way}/file").body == b"y" * 3_000_000


def test_head(gateway, way):
    answer = gateway.get(f"{way}/cookies", method="HEAD")
    assert (answer.status, answer["content-length"]) == (200, "3")


def test_a_slow_view_ends_at_the_timeout_whatever_it_catches(gateway):
    began = time.monotonic()
    assert gateway.get("/slow").status == 504
    assert 1.9 < time.monotonic() - began < 6
    assert b"slow" in gateway.get("/ends").body
    assert (gateway.line("/slow")["reason"], gateway.line("/slow")["status"]) == ("handler_timeout", "504")


def test_a_pause_after_the_head_is_bounded_and_the_response_closed(gateway):
    answer = gateway.get("/pausing")
    assert (answer.status, answer.body, answer.complete) == (200, b"one", False)
    assert b"pausing" in gateway.get("/ends").body
    assert gateway.line("/pausing")["reason"] == "deadline_mid_body"


def test_an_exception_before_the_head(gateway, way):
    answer = gateway.get(f"{way}/boom")
    assert (answer.status, answer["content-type"]) == (500, "application/problem+json")
    line = gateway.line(f"{way}/boom")
    assert line["reason"] == "handler_error"
    assert line["id"] in gateway.wait_for_line(f"{way}/boom")
    gateway.wait_for_line("KeyError: 'before the head'")


def test_an_exception_after_the_head(gateway, way):
    answer = gateway.get(f"{way}/late_boom")
    assert (answer.status, answer.body, answer.complete) == (200, b"one", False)
    gateway.wait_for_line("KeyError: 'after the head'")


def test_a_response_that_is_too_short_is_broken_off(gateway, way):
    assert not gateway.get(f"{way}/short").complete
    gateway.wait_for_line("3 bytes, expected 10")


def test_an_app_that_lingers_after_its_last_byte_is_not_waited_for(gateway, way):
    began = time.monotonic()
    answer = gateway.get(f"{way}/long")
    assert (answer.body, answer.complete) == (b"one", True)
    assert time.monotonic() - began < 1.5


def test_continue_comes_with_the_first_read(gateway, way):
    fields = "Host: shop\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with gateway.connect() as wire:
        wire.send(f"POST {way}/size HTTP/1.1\r\n{fields}")
        assert wire.read_response().status == 100
        wire.send("abc")
        assert wire.read_response().body == b"3"
    with gateway.connect() as wire:
        wire.send(f"POST {way}/cookies HTTP/1.1\r\n{fields}")
        assert wire.read_response().status == 200  # the app reads nothing


@pytest.mark.parametrize(("rest", "status"), [("zz\r\n", 400), ("a\r\n0123456789\r\n0\r\n\r\n", 413)])
def test_a_failed_read_decides_about_the_status(gateway, rest, status):
    """The app turns each exception into a 500 of its own."""
    with gateway.connect() as wire:
        wire.send("POST /small/catch HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        time.sleep(0.1)  # so that the app reads, and not the gateway before the exchange
        wire.send(rest)
        assert wire.read_response().status == status


def test_an_app_that_exits(gateway, way):
    assert gateway.get(f"{way}/leave").status == 500
    assert gateway.get("/cookies").status == 200


def test_what_an_app_sets_for_the_process_leaves_the_log_alone(gateway):
    """The app has disabled all loggers and moved the time zone to Tokyo: from New York, by at least 13 hours."""
    assert gateway.get("/spoilt/boom").status == 500
    line = gateway.line("/spoilt/boom")
    assert line["time"].endswith(("-05:00", "-04:00"))
    logged = gateway.wait_for_line("/spoilt/boom: a handler failed")
    assert abs(time.mktime(time.strptime(logged[:19], "%Y-%m-%d %H:%M:%S")) - _new_york_now()) < 60


def _new_york_now():
    code = "import time; print(time.mktime(time.localtime()[:8] + (-1,)), time.strftime('%Y-%m-%d %H:%M:%S'))"
    shown = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "TZ": "America/New_York"})
    return time.mktime(time.strptime(shown.decode().split(" ", 1)[1].strip(), "%Y-%m-%d %H:%M:%S"))


def test_a_view_that_blocks_in_a_thread_blocks_no_other_request(gateway):
    thread = threading.Thread(target=gateway.get, args=("/threads/block?0.8",))
    thread.start()
    times = []
    while thread.is_alive():
        began = time.monotonic()
        assert gateway.get("/cookies").status == 200
        times.append(time.monotonic() - began)
    assert len(times) > 3


def test_a_deadline_ends_the_wait_and_not_the_thread(gateway):
    assert gateway.get("/threads/block?1.6").status == 504
    name = 'gproxy_offload_dropped_total{handler="app:threads"}'
    eventually(lambda: gateway.metric(name) >= 1, "the late result")


def reasons(gateway, path):
    return [line["reason"] for line in gateway.access() if line["path"] == path]


def test_all_threads_taken(gateway):
    blocked = [threading.Thread(target=gateway.get, args=("/threads/block?3",)) for _ in range(2)]
    for thread in blocked:
        thread.start()
    time.sleep(0.3)
    answer = gateway.get("/threads/cookies")
    for thread in blocked:
        thread.join()
    assert answer.status == 503
    eventually(lambda: "threads_busy" in reasons(gateway, "/threads/cookies"), "the access line of the rejection")
    eventually(lambda: gateway.get("/threads/cookies").status == 200, "free threads")


FALLTHROUGH = """
[gateway]
handlers = health, metrics
[handler:health]
cache = 0s
[handler:metrics]
[route:shop]
path = /
app = shop_app:application
upstream = old
fallthrough = 404
[upstream:old]
backends = http://127.0.0.1:{port}
replay = 1000
"""


class Old(BaseHTTPRequestHandler):
    """The old service: it sends the body back."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(4 + len(body)))
        self.end_headers()
        self.wfile.write(b"old " + body)

    def log_message(self, *_):
        pass


@contextmanager
def old_service():
    """Yield the port of the old service."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_move_url_by_url(tmp_path):
    """The app answers what it knows, and the old service the rest, with its body; a long body stays with the app."""
    shutil.copy(HERE / "shop_app.py", tmp_path)
    with old_service() as port:
        settings = FALLTHROUGH.replace("{port}", str(port))
        with RunningGateway(settings, tmp_path) as gateway:
            assert [gateway.get(path).body for path in ("/cookies", "/ends")] == [b"two", b""]
            assert gateway.line("/cookies")["backend"] == "app"
            for path, body in (("/old", b""), ("/older", b"abc")):
                answer = gateway.ask(
                    b"POST %b HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
                )
                assert (answer.status, answer.body) == (200, b"old " + body)
                line = gateway.line(path)
                assert (line["upstream"], line["backend"]) == ("old", f"127.0.0.1:{port}")
            invalid = b"3\r\nabc\r\nnot a size\r\n3\r\ndef\r\n0\r\n\r\n"
            head = b"POST /swallow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert gateway.ask(head + invalid).status == 400  # though the app ignores the error and answers 404
            long = b"x" * 2000
            answer = gateway.ask(b"POST /long-one HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n%b" % long)
            assert (answer.status, answer.body) == (404, b"not here")
            assert gateway.metric('gproxy_fallthrough_total{route="shop"}') == 2


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


BOTH = """
[route:inside]
path = /
app = shop_app:application
[route:outside]
path = /
host = outside.example
upstream = gunicorn
[upstream:gunicorn]
backends = http://127.0.0.1:{port}
"""
#: What differs by the nature of a server: its name, the connection of the gateway, the id of the request.
OWN = {"REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "SERVER_SOFTWARE", "HTTP_X_REQUEST_ID"}


def test_take_the_app_out_again(tmp_path):
    """The app sees equal requests inside the gateway and under gunicorn behind it."""
    shutil.copy(HERE / "shop_app.py", tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "shop_app:application"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: listens(port), "gunicorn")
        with RunningGateway(BOTH.replace("{port}", str(port)), tmp_path) as gateway:
            for raw in (
                "GET /seen/%C3%BC%20x?q=%20a HTTP/1.1\r\nHost: {}\r\nCookie: a=b; c=d\r\nA: 1\r\nA: 2\r\n\r\n",
                "POST /seen HTTP/1.1\r\nHost: {}\r\nContent-Type: text/x\r\nContent-Length: 3\r\nTE: trailers\r\n\r\nabc",
                "PUT /seen HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ):
                inside, outside = (
                    {
                        name: value
                        for name, value in seen(gateway.ask(raw.replace("{}", host))).items()
                        if name not in OWN
                    }
                    for host in ("inside.example", "outside.example")
                )
                for found in (inside, outside):
                    for name in ("HTTP_HOST", "HTTP_X_FORWARDED_HOST"):
                        found[name] = found[name].replace("outside", "inside")
                assert inside == outside
    finally:
        process.terminate()
        process.wait(15)


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("shop_app:aplication", "shop_app has no 'aplication'; did you mean 'application'?"),
        ("nowhere:app", "cannot import nowhere"),
        ("broken:app", "cannot import broken: SyntaxError"),
        ("failing:make()", "cannot create make: ValueError: no database"),
        ("failing:leave()", "cannot create leave: SystemExit: 3"),
        ("failing:make", "failing:make cannot be called with (environ, start_response); write () after"),
        ("failing:NUMBER", "failing:NUMBER is not callable"),
    ],
)
@pytest.mark.parametrize("other", ["", "timeout = soon\n"])  # another problem of the route hides none of the app
def test_a_wrong_app_is_reported_with_its_line(tmp_path, app, message, other):
    shutil.copy(HERE / "shop_app.py", tmp_path)
    (tmp_path / "broken.py").write_text("def app(:\n")
    (tmp_path / "failing.py").write_text(
        "NUMBER = 5\ndef make():\n    raise ValueError('no database')\ndef leave():\n    raise SystemExit(3)\n"
    )
    (tmp_path / "gproxy.ini").write_text(f"[route:shop]\napp = {app}\n{other}")
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "gproxy.ini:2: [route:shop] app: " in done.stderr
    assert message in done.stderr
    assert ("gproxy.ini:3: [route:shop] timeout: " in done.stderr) == bool(other)


def test_routes_and_explain_name_the_app(tmp_path):
    shutil.copy(HERE / "shop_app.py", tmp_path)
    settings = "[route:shop]\npath = /shop\nstrip_prefix = yes\napp = shop_app:application\noffload = yes\n"
    (tmp_path / "gproxy.ini").write_text(settings)

    def run(*words):
        command = [sys.executable, "-m", "gproxy", words[0], "--config", "gproxy.ini", *words[1:]]
        return forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "app       shop_app:application, in threads" in run("routes")
    shown = run("explain", "GET", "/shop/cart")
    assert "request to shop_app:application, before handlers" in shown
    assert "GET /cart HTTP/1.1" in shown


DROPPING = """
import gevent
from gproxy import Response

ended = []


def drops(request, next):
    next(request)
    return Response(200, b"another")


def app(environ, start_response):
    if environ["PATH_INFO"] == "/ended":
        start_response("200 OK", [])
        return [str(len(ended)).encode()]
    if environ["REQUEST_METHOD"] == "POST":
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [str(size).encode()]
    start_response("200 OK", [])
    return endless()


def endless():
    try:
        while True:
            yield b"x" * 1000
    finally:
        ended.append(True)
"""
DROPPING_SETTINGS = """
[server]
threads = 2
[handler:drops]
use = dropping:drops
[route:dropped]
path = /dropped
handlers = drops
app = dropping:app
offload = {offload}
[route:direct]
path = /
app = dropping:app
offload = {offload}
buffer_request = 1MB
"""


@pytest.fixture(params=["no", "yes"])
def dropping(request, tmp_path):
    """A gateway whose handler drops the responses below /dropped, with the app in greenlets and in two threads."""
    (tmp_path / "dropping.py").write_text(DROPPING)
    settings = DROPPING_SETTINGS.format(offload=request.param)
    if request.param == "no":
        settings = settings.replace("buffer_request = 1MB\n", "")
    with RunningGateway(settings, tmp_path) as running:
        yield running


def test_a_response_that_a_handler_drops_is_closed_and_its_thread_is_free(dropping):
    for _ in range(5):
        assert dropping.get("/dropped").body == b"another"
    eventually(lambda: dropping.get("/ended").body == b"5", "the end of five generators")


def test_uploads_beyond_the_memory_need_no_thread_of_the_app(dropping):
    answers = []

    def upload():
        body = b"b" * 900_000
        with socket.create_connection(("127.0.0.1", dropping.port), 30) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
            sock.sendall(body)
            answers.append(b"".join(iter(lambda: sock.recv(65536), b"")))

    clients = [threading.Thread(target=upload) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [b"900000"] * 4
