"""`gproxy dev --app` and reload on save, from outside: what is served, to whom, and how soon what is saved runs."""

import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import forked
import pytest
from shipped import curl

from gproxy.commands.live.admin_client import AdminClient
from gproxy.testing.gateway import eventually, free_port

APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"TEXT"]


def make():
    return app
"""


class Dev:
    """`gproxy dev` in a folder, with what it serves and prints."""

    def __init__(self, folder, port, process):
        self.folder, self.port, self.process = folder, port, process
        self.url = f"http://127.0.0.1:{port}"

    @property
    def output(self):
        return (self.folder / "output").read_text()

    def get(self, path="/", *arguments):
        """The response as its head and its body."""
        head, _, body = curl("--include", *arguments, f"{self.url}{path}").partition(b"\r\n\r\n")
        return head.decode(), body

    def save(self, name, text):
        (self.folder / name).write_text(text)

    def wait_for(self, text):
        eventually(lambda: text in self.output, f"{text!r} in {self.output}")


@contextmanager
def dev(folder, *arguments, bind="127.0.0.1"):
    port = free_port()
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "gproxy", "dev", "--bind", f"{bind}:{port}", *arguments]
    with (folder / "output").open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ)
    running = Dev(folder, port, process)
    try:
        eventually(lambda: "ctrl-C stops it" in running.output or process.poll() is not None, "the hints")
        assert process.poll() is None, running.output
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.fixture
def turn():
    """The turn to start the demo's backends, which have fixed ports: see test_scripts.py. These may be taken here."""
    with (Path(tempfile.gettempdir()) / "gproxy-demo-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def own_address():
    """An address of this machine that is not of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("no network interface besides the loopback one")
        return sock.getsockname()[0]


def test_an_app_needs_no_settings_file(tmp_path):
    (tmp_path / "shop.py").write_text(APP.replace("TEXT", "first"))
    with dev(tmp_path, "--app", "shop:make()") as running:
        assert running.get("/any/path?x=1")[1] == b"first"
        assert "The app shop:make() is on" in running.output
        running.save("shop.py", APP.replace("TEXT", "second"))
        eventually(lambda: running.get()[1] == b"second", "the new code")
        assert "X-Gproxy-Dev" not in running.get()[0]
        place = re.search(r"gproxy dashboard --admin (\S+)", running.output)[1]
        status = AdminClient(place).get("/v1/status")
        assert (status["generation"], place.startswith("unix:")) == (2, True)
    assert {path.name for path in tmp_path.iterdir()} == {"output", "shop.py"}


HOSTS = """
[route:shop]
host = *.shop.test
respond = 200
[route:items]
path = ~ /items/\\d+, /things
respond = 200
[route:numbers]
path = ~ /numbers/\\d+
respond = 200
[log]
access = off
"""


def test_each_route_of_a_settings_file_has_a_line_to_try_and_commands_find_the_admin_socket(tmp_path, turn):
    (tmp_path / "gproxy.ini").write_text(HOSTS)
    with dev(tmp_path, "--config", "gproxy.ini") as running:
        lines = re.findall(r"^  curl -i (.*)$", running.output.replace(running.url, "URL"), re.M)
        assert lines == [
            "-H 'Host: name.shop.test' URL/", "URL/things", r"URL/…  # a path of ~ /numbers/\d+",
        ]  # fmt: skip
        assert curl("-H", "Host: name.shop.test", "--write-out", "%{http_code}", f"{running.url}/") == b"200"
        listed = forked.run(
            [sys.executable, "-m", "gproxy", "ps", "--config", "gproxy.ini"],
            cwd=tmp_path, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert "0 requests in flight" in listed.stdout, listed.stderr
    listed = forked.run(
        [sys.executable, "-m", "gproxy", "ps", "--config", "gproxy.ini"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert "there is no [admin] bind" in listed.stderr


@pytest.mark.parametrize(("said", "is_on"), [("", True), ("[admin]\ndebug = no\n", False)])
def test_debugging_is_on_unless_the_settings_say_no(tmp_path, turn, said, is_on):
    (tmp_path / "gproxy.ini").write_text(HOSTS + said)
    with dev(tmp_path, "--config", "gproxy.ini"):
        command = [sys.executable, "-m", "gproxy", "debug", "--config", "gproxy.ini", "--path", "/x", "--wait", "1s"]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert ("debugging is off" not in done.stderr) is is_on, done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--app", "shop:nope"], "command line: [route:app] app: shop has no 'nope'"),
        (["--app", "shop"], "command line: [route:app] app: expected MODULE:NAME"),
        (["--app", "shop:app", "--config", "x.ini"], "gproxy dev: --app needs no settings file"),
    ],
)
def test_an_app_that_cannot_be_served(tmp_path, arguments, expected):
    (tmp_path / "shop.py").write_text(APP)
    command = [sys.executable, "-m", "gproxy", "dev", "--bind", f"127.0.0.1:{free_port()}", *arguments]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert expected in done.stderr


def test_a_module_runs_less_than_a_second_after_it_is_saved(tmp_path):
    """The best of some: the machine may be busy with other tests."""
    lines = "".join(f"\n\ndef helper{number}(value):\n    return value + {number}\n" for number in range(24))
    (tmp_path / "shop.py").write_text(APP + lines)
    took = []
    with dev(tmp_path, "--app", "shop:app") as running:
        while not took or (min(took) >= 1 and len(took) < 10):
            eventually(lambda: workers_of(running.process.pid) == 2, "the old worker's end, and the next one's imports")
            text = APP.replace("TEXT", f"version {len(took)}") + lines
            assert text.count("\n") >= 100
            began = time.monotonic()
            running.save("shop.py", text)
            while body_of(running.port) != b"version %d" % len(took):
                assert time.monotonic() < began + 30, running.output
            took.append(time.monotonic() - began)
    if min(took) >= 1 and os.getloadavg()[0] > 2 * len(os.sched_getaffinity(0)):
        pytest.skip(f"the machine has too much to do: {min(took):.1f} s at best")
    assert min(took) < 1, took


def workers_of(pid):
    """The number of workers that have imported everything: these have a name."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = []
    for child in children:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
            names.append(Path(f"/proc/{child}/comm").read_text())
    return names.count("gproxy: worker1\n")


def body_of(port):
    """The body of a response; a process of curl would take the time of the reload."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_responses_say_why_a_reload_has_failed_until_one_succeeds(tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    with dev(tmp_path, "--app", "shop:app", bind="0.0.0.0") as running:
        running.save("shop.py", APP + "\n\ndef broken(:\n")
        running.wait_for("reload failed")
        eventually(lambda: "X-Gproxy-Dev" in running.get()[0], "the header")
        head, body = running.get()
        assert re.search(r"^X-Gproxy-Dev: reload failed: shop\.py:10 .*SyntaxError: invalid syntax\r?$", head, re.M), (
            head
        )
        assert body == b"TEXT", "the old code serves"
        for path in ("/%zz", "/../.."):
            assert "X-Gproxy-Dev: reload failed: shop.py:10 " in running.get(path, "--path-as-is")[0]
        assert "X-Gproxy-Dev" not in running.get("/", "--header", "X-Forwarded-For: 192.0.2.7")[0]
        running.save("shop.py", "import time\n1 / 0\n")
        eventually(lambda: "shop.py:2 " in running.get()[0], "the next reason")
        assert "ZeroDivisionError: division by zero" in running.get()[0]
        running.save("shop.py", APP.replace("TEXT", "repaired"))
        eventually(lambda: running.get()[1] == b"repaired", "the new code")
        assert "X-Gproxy-Dev" not in running.get()[0]


def test_files_of_watch_reload(tmp_path, turn):
    code = """
from pathlib import Path

TEXT = " ".join(sorted(path.read_text() for path in Path("pages").rglob("*.txt"))) + Path("a.env").read_text()


def answer(request, next):
    response = next(request)
    response.headers["X-Text"] = TEXT
    return response
"""
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "pages" / "deep").mkdir(parents=True)
    (tmp_path / "pages" / "deep" / "a.txt").write_text("one")
    (tmp_path / "a.env").write_text("-")
    (tmp_path / "other").mkdir()
    settings = "[server]\nwatch = pages, *.env\n[gateway]\nhandlers = mine\n[route:all]\npath = /\nrespond = 200\n"
    (tmp_path / "gproxy.ini").write_text(f"{settings}[handler:mine]\nuse = mine:answer\n[log]\naccess = off\n")
    with dev(tmp_path, "--config", "gproxy.ini") as running:

        def text():
            return re.search(r"X-Text: (.*)", running.get()[0])[1].strip()

        assert text() == "one-"
        running.save("pages/deep/a.txt", "two")
        eventually(lambda: text() == "two-", "a changed file below a folder")
        running.save("pages/b.txt", "b")
        eventually(lambda: text() == "b two-", "a new file")
        running.save("a.env", "+")
        eventually(lambda: text() == "b two+", "a match of a pattern")
        (tmp_path / "pages" / "b.txt").unlink()
        eventually(lambda: text() == "two+", "a removed file")
        running.save("other/c.txt", "not watched")
        running.save("a.env", "*")
        eventually(lambda: text() == "two*", "another reload")
        assert "c.txt" not in running.output
        generations = [int(number) for number in re.findall(r"reloaded: generation (\d+)", running.output)]
        assert generations == [2, 3, 4, 5, 6], running.output


BROKEN = """\
def app(environ, start_response):
    secret = environ.get("HTTP_COOKIE", "")
    raise KeyError(f"the app fails: {secret} <b>")
"""
HANDLER = "def fails(request, next):\n    request.headers['X-Mine'] = '1'\n    return 1 / 0  # in the handler\n"
CONFIG = """\
[server]
bind = {bind}
[gateway]
timeout = 1s
[route:app]
path = /app
app = shop:app
[route:handler]
path = /handler
handlers = fails
respond = 200
[route:slow]
path = /slow
app = slow:app
[handler:fails]
use = mine:fails
[log]
access = off
"""
SLOW = "import time\n\n\ndef app(environ, start_response):\n    time.sleep(9)  # too long\n"
HTML = ("--header", "Accept: text/html,*/*;q=0.8")


@pytest.fixture
def broken(tmp_path):
    for name, text in (("shop.py", BROKEN), ("mine.py", HANDLER), ("slow.py", SLOW)):
        (tmp_path / name).write_text(text)
    (tmp_path / "gproxy.ini").write_text(CONFIG.format(bind="127.0.0.1:1"))
    return tmp_path


def shows_code(head, body):
    return any(text in head.encode() + body for text in (b"Traceback", b"shop.py", b"mine.py", b"KeyError", b"raise"))


def test_a_traceback_is_shown_to_the_developer(broken, turn):
    cookie = ("--header", "Cookie: sid=verysecretvalue")
    with dev(broken, "--config", "gproxy.ini") as running:
        head, body = running.get("/app/x?token=hidden-one", *HTML, *cookie)
        assert head.startswith("HTTP/1.1 500 ")
        assert "Content-Type: text/html" in head
        page = body.decode()
        assert "KeyError: &#x27;the app fails: *** &lt;b&gt;&#x27;" in page
        assert re.search(r"<b> +3 +raise KeyError", page), page
        assert "shop.py:3" in page
        assert not re.search("verysecretvalue|hidden-one", page)
        found = json.loads(running.get("/handler")[1])
        assert (found["status"], found["exception"]) == (500, "ZeroDivisionError: division by zero")
        assert found["traceback"][0] == {
            "file": "mine.py", "line": 3, "function": "fails", "code": "return 1 / 0  # in the handler",
            "is_user_code": True,
        }  # fmt: skip
        assert found["changes"] == {"fails": ["+ header X-Mine: 1"]}
        head, body = running.get("/handler", "--header", "Accept: text/plain")
        assert b"mine.py:3 in fails\n    return 1 / 0" in body
        head, body = running.get("/slow", *HTML)
        assert head.startswith("HTTP/1.1 504 ")
        assert b"time.sleep(9)  # too long" in body
        running.save("mine.py", "broken(\n")
        eventually(lambda: "X-Gproxy-Dev" in running.get("/app")[0], "the header")
        assert "Earlier code still serves: reload failed: mine.py:1 " in running.get("/app", *HTML)[1].decode()


@pytest.mark.parametrize("arguments", [(), ("--expose",)])
def test_no_traceback_is_shown_to_others(broken, arguments, turn):
    address = own_address()
    with dev(broken, "--config", "gproxy.ini", *arguments, bind="0.0.0.0") as running:
        local = running.url
        assert shows_code(*running.get("/app", *HTML))
        running.url = f"http://{address}:{running.port}"
        for accept in ("text/html", "text/plain", "application/json"):
            for path in ("/app", "/handler"):
                for more in ((), ("--header", "Host: localhost"), ("--header", "X-Forwarded-For: 127.0.0.1")):
                    head, body = running.get(path, "--header", f"Accept: {accept}", *more)
                    assert head.startswith("HTTP/1.1 500 " if arguments else "HTTP/1.1 403 ")
                    assert not shows_code(head, body)
        running.url = local
        for field in ("Host: evil.test", "X-Forwarded-For: 192.0.2.1", "Via: 1.1 nginx", "Sec-Fetch-Site: cross-site"):
            head, body = running.get("/app", *HTML, "--header", field)
            assert head.startswith("HTTP/1.1 500 ")
            assert not shows_code(head, body)


def test_no_traceback_is_shown_without_dev(broken):
    port = free_port()
    (broken / "gproxy.ini").write_text(CONFIG.format(bind=f"127.0.0.1:{port}"))
    command = [sys.executable, "-m", "gproxy", "--config", "gproxy.ini"]
    with subprocess.Popen(command, cwd=broken, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if "serves on" in line)
        running = Dev(broken, port, process)
        for accept in ("text/html", "text/plain", "application/json"):
            for path in ("/app", "/handler"):
                head, body = running.get(path, "--header", f"Accept: {accept}")
                assert head.startswith("HTTP/1.1 500 ")
                assert not shows_code(head, body)
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_other_machines_are_rejected_unless_the_gateway_is_exposed(tmp_path):
    address = own_address()
    (tmp_path / "shop.py").write_text(APP)
    forged = ("--header", "X-Forwarded-For: 127.0.0.1", "--header", "Host: localhost")
    for arguments, status in (((), 403), (("--expose",), 200)):
        with dev(tmp_path, "--app", "shop:app", *arguments, bind="0.0.0.0") as running:
            local = running.get()
            running.url = f"http://{address}:{running.port}"
            for more in ((), forged):
                head, body = running.get("/", *more)
                assert head.startswith(f"HTTP/1.1 {status} ")
                assert b"gproxy dev serves only clients on its own machine" in body or status == 200
            assert local[1] == b"TEXT"
            if status == 403:
                assert json.loads(body)["status"] == 403
                running.wait_for("reason:not_local")
            running.save("shop.py", "broken(\n")
            running.wait_for("reload failed")
            assert "X-Gproxy-Dev" not in running.get()[0]
        (tmp_path / "shop.py").write_text(APP)


def test_the_inspector_is_for_this_machine_whatever_allow_says(tmp_path, turn):
    address, port, token = own_address(), free_port(), "t" * 32
    admin = f"[admin]\nbind = 0.0.0.0:{port}\nallow = 0.0.0.0/0\nhosts = localhost\ntoken = {token}\n"
    (tmp_path / "gproxy.ini").write_text(HOSTS + admin)

    def status(host, path):
        given = ("--header", f"Authorization: Bearer {token}", "--header", "Host: localhost", "--max-time", "10")
        text = curl(*given, "--output", "/dev/null", "--write-out", "%{http_code}", f"http://{host}:{port}{path}")
        return int(text)

    with dev(tmp_path, "--config", "gproxy.ini", "--expose") as running:
        running.get("/things")
        eventually(lambda: status("127.0.0.1", "/v1/inspector/1") == 200, "the request in the inspector")
        assert status(address, "/v1/status") == 200
        inspected = [f"/v1/inspector{more}" for more in ("", "/1", "/1/copy")]
        for path in (*inspected, "/?view=inspector", "/v1/events?view=inspector"):
            assert status(address, path) == 403, path
