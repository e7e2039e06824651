"""HUP: new settings, new code, new listeners, and nobody notices; or a mistake, and nobody notices either."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from hammer import load
from shipped import PUBLIC, UNLIMITED, response, running

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, Wire, eventually, free_port

INI = """
[server]
{server}
[gateway]
handlers = health
timeout = 20s
[handler:mine]
use = mine:mine
[route:all]
handlers = mine
upstream = one
[upstream:one]
backends = {url}
"""
CODE = "def mine(request, next):\n    response = next(request)\n    response.headers['X-Code'] = 'NAME'\n    return response\n"
GET = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"


class Scene:
    """A gateway whose settings and code a test rewrites."""

    def __init__(self, folder, gateway, url):
        self.folder, self.gateway, self.url = folder, gateway, url
        self.reloads = 0

    def __getattr__(self, name):
        return getattr(self.gateway, name)

    def write(self, *server, more="", code="first"):
        (self.folder / "mine.py").write_text(CODE.replace("NAME", code))
        (self.folder / "gproxy.ini").write_text(INI.format(server="\n".join(server), url=self.url) + more)

    def reload(self):
        self.reloads += 1
        self.signal(signal.SIGHUP)
        eventually(lambda: self.errors.count("reloaded: ") == self.reloads, "the reload")

    def fail(self, said):
        failed = self.errors.count("reload failed")
        self.signal(signal.SIGHUP)
        eventually(lambda: self.errors.count("reload failed") == failed + 1, "the end of the reload")
        assert said in self.errors

    def code(self):
        return self.get("/")["x-code"]


@pytest.fixture
def backend():
    with Backend(answering(body=b"one")) as one:
        yield one


@pytest.fixture
def scene(tmp_path, backend):
    (tmp_path / "mine.py").write_text(CODE.replace("NAME", "first"))
    with RunningGateway(
        INI.format(server="", url=backend.url), tmp_path, environ={"PYTHONDONTWRITEBYTECODE": "1"}
    ) as gateway:
        yield Scene(tmp_path, gateway, backend.url)


@pytest.mark.parametrize("text", ["[gateway]\ninclude = a\0b.ini", "[gateway]\ninclude = a\0b/*.ini", "\0"])
def test_settings_that_are_no_text_leave_the_old_ones(scene, text):
    (scene.folder / "gproxy.ini").write_text(text)
    scene.fail("is not text: byte 0x00")
    assert scene.code() == "first"


def test_a_working_directory_that_was_removed_costs_no_reload_and_no_worker(by_python, scene):
    copy = scene.folder.with_name("copy")
    shutil.copytree(scene.folder, copy)

    def is_removed():
        shutil.rmtree(scene.folder, ignore_errors=True)  # the gateway may open its log again meanwhile
        return not scene.folder.exists()

    eventually(is_removed, "the end of the folder")  # as a deployment does that replaces the folder of a release
    copy.rename(scene.folder)
    scene.write(more="\n[log]\naccess = off\n", code="second")
    scene.reload()
    assert scene.code() == "second"
    scene.write(code="third")
    (worker,) = scene.workers
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: scene.workers not in ([], [worker]), "another worker")
    assert scene.code() == "second"  # that of its generation


def test_new_settings_and_new_code(scene):
    before = scene.workers
    assert scene.code() == "first"
    scene.write("workers = 2", code="second", more="[route:no]\npath = /no\nmethods = POST\nupstream = one\n")
    assert scene.code() == "first"
    scene.reload()
    assert {scene.code() for _ in range(20)} == {"second"}
    assert scene.get("/no").status == 405
    eventually(lambda: len(scene.workers) == 2 and not set(before) & set(scene.workers), "two new workers only")
    assert "generation 2 serves on 127.0.0.1" in scene.errors
    scene.write(code="third")
    scene.reload()
    eventually(lambda: len(scene.workers) == 1, "one worker")
    assert scene.code() == "third"


def test_the_command_line_still_counts_more_than_the_file(scene):
    scene.write(f"bind = 127.0.0.1:{free_port()}", code="second")
    scene.reload()
    assert scene.code() == "second"  # where --bind says


@pytest.mark.parametrize(
    ("server", "more", "code", "said"),
    [
        ("grace = soon", "", "2", "ERROR gproxy reload: {folder}/gproxy.ini:3: [server] grace: expected a time"),
        (
            "",
            "[route:b]\nupstream = two\n",
            "2",
            "ERROR gproxy reload: {folder}/gproxy.ini:15: [route:b] upstream: unknown upstream 'two'",
        ),
        ("", "", "2'\n    1 +", "cannot import mine: SyntaxError"),
        ("", "[log]\naccess = {folder}\n", "2", "[log] access: {folder} cannot be opened"),
    ],
)
def test_whatever_is_wrong_the_old_generation_goes_on(scene, server, more, code, said):
    before = scene.workers
    scene.write(server, more=more.format(folder=scene.folder), code=code)
    with scene.connect() as wire:
        scene.fail(said.format(folder=scene.folder))
        wire.send(GET.format("/"))
        answer = wire.read_response()
    assert (answer["x-code"], answer["connection"]) == ("first", None)
    eventually(lambda: scene.workers == before, "no other worker")
    assert "generation 1 keeps serving" in scene.errors
    scene.write(code="mended")
    scene.reload()
    assert scene.code() == "mended"


def test_a_file_that_is_gone_and_a_worker_that_dies(scene):
    (scene.folder / "gproxy.ini").rename(scene.folder / "away")
    scene.fail("cannot be read: no such file or directory")
    (scene.folder / "away").rename(scene.folder / "gproxy.ini")
    (scene.folder / "mine.py").write_text("import os\nos._exit(7)\n")
    scene.fail("exited with status 7 before it was ready")
    assert scene.code() == "first"


def test_a_reload_that_hangs_says_what_it_waits_for(scene):
    (scene.folder / "mine.py").write_text("import time\ntime.sleep(1000)\n")
    scene.signal(signal.SIGHUP)
    line = scene.wait_for_line(" starts slowly: it still imports or builds the parts of the settings (limit 60 s)")
    assert re.search(r" WARNING gproxy worker 1 \(generation 2, pid \d+\) starts slowly: it still ", line)
    assert scene.code() == "first"


def test_a_worker_started_later_has_its_generations_settings_not_the_files(scene):
    scene.write(more="[route:late]\npath = /late\nmethods = POST\nupstream = one\n")
    (old,) = scene.workers
    os.kill(old, signal.SIGKILL)
    eventually(lambda: scene.workers not in ([], [old]), "another worker")
    assert scene.get("/late").status == 200


def test_hups_during_a_reload_make_one_more(scene):
    for _ in range(5):
        scene.signal(signal.SIGHUP)
        time.sleep(0.02)
    eventually(lambda: scene.errors.count("reloaded: ") == 2, "two reloads")
    scene.wait_for_line("another reload follows the current one")
    assert scene.get("/").status == 200
    assert scene.errors.count("reloaded: ") == 2


def test_listeners_change(tmp_path, backend):
    """The first stays, the second goes, the third comes; a unix socket loses its name and gets it back."""
    ports = [free_port() for _ in range(3)]
    (tmp_path / "mine.py").write_text(CODE)
    path = tmp_path / "sock"

    def write(*addresses):
        lines = "".join(f"  {address}\n" for address in addresses)
        (tmp_path / "gproxy.ini").write_text(INI.format(server=f"workers = 2\nbind =\n{lines}", url=backend.url))

    def answers(port):
        try:
            sock = socket.create_connection(("127.0.0.1", port), 5)
        except ConnectionRefusedError:
            return False
        with Wire(sock) as wire:
            wire.send(GET.format("/"))
            return wire.read_response().status == 200

    addresses = [f"127.0.0.1:{port}" for port in ports]
    write(addresses[0], addresses[1], f"unix:{path}")
    ours = RunningGateway((tmp_path / "gproxy.ini").read_text(), tmp_path)
    del ours._command[3:5]  # --bind
    with ours:
        scene = Scene(tmp_path, ours, backend.url)
        assert [answers(port) for port in ports] == [True, True, False]
        write(addresses[0], addresses[2])
        with load(ports[0], threads=4), load(ports[1], threads=4):
            scene.reload()
        eventually(lambda: [answers(port) for port in ports] == [True, False, True], "the change")
        assert not path.exists()
        with socket.create_server(("127.0.0.1", ports[1])):
            write(addresses[0], addresses[1])
            scene.fail(f"cannot listen on {addresses[1]}: Address already in use\n")
        write(f"0.0.0.0:{ports[2]}")
        scene.fail(
            f"0.0.0.0:{ports[2]}: Address already in use by {addresses[2]} of this gateway; only a restart can change this\n"
        )
        assert [answers(port) for port in ports] == [True, False, True]
        write(addresses[0], f"unix:{path}")
        scene.reload()
        done = subprocess.run(["curl", "-s", "--unix-socket", path, "http://a/"], capture_output=True, timeout=10)
        assert done.stdout == b"one"
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert not path.exists()


def test_a_unix_socket_whose_file_is_gone_is_made_again(tmp_path, backend):
    path = tmp_path / "sock"
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "gproxy.ini").write_text(INI.format(server="", url=backend.url))

    def answer():
        done = subprocess.run(["curl", "-s", "--unix-socket", path, "http://a/"], capture_output=True, timeout=10)
        return done.stdout

    with RunningGateway((tmp_path / "gproxy.ini").read_text(), tmp_path, "--bind", f"unix:{path}") as ours:
        scene = Scene(tmp_path, ours, backend.url)
        scene.reload()
        assert "file was removed" not in ours.errors
        path.unlink()
        assert answer() == b""
        scene.reload()
        assert f"unix:{path}: its file was removed or replaced; opening a new socket there" in ours.errors
        assert answer() == b"one"
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            scene.fail(f"cannot listen on unix:{path}: Address already in use\n")
            ours.signal(signal.SIGTERM)
            assert ours.wait() == 0
            assert path.exists()


def test_the_old_generation_finishes_what_it_has(tmp_path):
    """A request, a stream and a WebSocket under way; what is idle may still ask, and is told to go elsewhere."""
    release = threading.Event()

    def script(peer, backend):
        while (request := peer.read_head()) is not None:
            backend.requests.append(request)
            path = request.line.split(" ")[1]
            if path == "/orders/tunnel":
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                while peer.read_more():
                    peer.send(peer.buffer)
                    peer.buffer = b""
                return
            if path == "/orders/stream":
                peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
                release.wait(20)
                peer.send(b"1\r\nz\r\n0\r\n\r\n")
                continue
            if path == "/orders/slow":
                release.wait(20)
            peer.send(response(b"done"))

    slow = ("timeout = 3s", "timeout = 20s")
    grace = ("grace = 30s", "grace = 2s")
    with running(tmp_path, UNLIMITED, *PUBLIC, slow, grace, scripts=(None, script)) as ours:
        with ours.connect() as request, ours.connect() as stream, ours.connect() as tunnel, ours.connect() as idle:
            request.send(GET.format("/orders/slow"))
            stream.send(GET.format("/orders/stream"))
            assert b"200 OK" in stream.read_until(b"\r\n1\r\na\r\n")
            upgrade = (
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
            )
            tunnel.send(f"GET /orders/tunnel HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n")
            assert b"101 " in tunnel.read_until(b"\r\n\r\n")
            idle.send(GET.format("/ready"))
            assert idle.read_response().status == 200
            (old,) = ours.workers
            eventually(lambda: len(ours.two.requests) == 3, "all three under way")
            ours.signal(signal.SIGHUP)
            ours.wait_for_line("reloaded: ")

            eventually(lambda: len(ours.workers) == 2, "both generations")
            assert ours.get("/ready").status == 200
            release.set()
            assert request.read_response().body == b"done"
            assert stream.read_until(b"0\r\n\r\n") == b"1\r\nz\r\n0\r\n\r\n"
            idle_closed = idle.is_closed()
            assert idle_closed
            time.sleep(2.5)  # longer than grace: a tunnel has its own limit
            tunnel.send(b"hello")
            assert tunnel.read_exactly(5) == b"hello"
            assert old in ours.workers
            tunnel.sock.shutdown(socket.SHUT_WR)
            assert tunnel.is_closed()
        eventually(lambda: old not in ours.workers, "the end of the old generation")
        assert "cut" not in ours.errors


def test_a_request_that_comes_on_a_kept_connection_after_the_reload_is_answered(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC) as ours, ours.connect() as wire:
        wire.send(GET.format("/ready"))
        assert wire.read_response().status == 200
        ours.signal(signal.SIGHUP)
        ours.wait_for_line("reloaded: ")
        wire.send(GET.format("/ready"))
        answer = wire.read_response()
        assert (answer.status, answer["connection"]) == (200, "close")


def test_a_stop_ends_tunnels_of_an_older_generation_too(tmp_path):
    def script(peer, backend):
        peer.read_head()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while peer.read_more():
            pass

    grace = ("grace = 30s", "grace = 1s")
    with running(tmp_path, UNLIMITED, *PUBLIC, grace, scripts=(None, script)) as ours, ours.connect() as tunnel:
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
        tunnel.send(f"GET /orders/tunnel HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n")
        assert b"101 " in tunnel.read_until(b"\r\n\r\n")
        ours.signal(signal.SIGHUP)
        ours.wait_for_line("reloaded: ")
        assert len(ours.workers) == 2
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert "/orders/tunnel: cut" in ours.errors
        assert "1 request cut" in ours.errors


@pytest.mark.parametrize(("workers", "reloads"), [(1, 14), (2, 6)])
def test_reloads_under_full_load_lose_nothing(tmp_path, workers, reloads):
    """Twenty in all."""

    def script(peer, backend):
        while peer.read_request() is not None:
            peer.send(response(b"x" * 500))

    count = ("workers = 1", f"workers = {workers}")
    with running(tmp_path, UNLIMITED, *PUBLIC, count, scripts=[script] * 3) as ours:
        with load(ours.port, threads=6) as clients:
            for number in range(1, reloads + 1):
                ours.signal(signal.SIGHUP)
                eventually(lambda number=number: ours.errors.count("reloaded: ") == number, "a reload")
        answered = sum(client.answered for client in clients)
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert sum(file.read_bytes().count(b"\n") for file in (tmp_path / "log").iterdir()) == answered
        assert "ERROR" not in ours.errors


def test_files_are_watched(scene):
    scene.write("reload = on", code="second")
    scene.reload()
    (scene.folder / "mine.py").write_text(CODE.replace("NAME", "third"))
    scene.wait_for_line("mine.py changed: reloading")
    eventually(lambda: scene.code() == "third", "the new code")
    (scene.folder / "mine.py").write_text("def mine(:")
    scene.wait_for_line("reload failed")
    (scene.folder / "mine.py").write_text(CODE.replace("NAME", "fourth"))
    eventually(lambda: scene.code() == "fourth", "the mended code")


def test_error_pages_are_watched(scene):
    page = scene.folder / "410.txt"
    page.write_text("first")
    more = "[route:gone]\npath = /gone\nrespond = 410\n[errors]\n410 = 410.txt\n"
    scene.write("reload = on", more=more)
    scene.reload()
    assert scene.get("/gone", "Accept: text/plain").body == b"first"
    page.write_text("second")
    scene.wait_for_line("410.txt changed: reloading")
    eventually(lambda: scene.get("/gone", "Accept: text/plain").body == b"second", "the new page")


def test_included_files_are_read_once_for_all_workers_and_watched(tmp_path, backend):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    ini = f"[server]\nworkers = 2\nreload = on\n[gateway]\ninclude = conf.d/*.ini\n[upstream:one]\nbackends = {backend.url}\n"
    route = "[route:{0}]\npath = /{0}\nrespond = {1}\n"
    (folder / "a.ini").write_text(route.format("a", 201))

    def status(path):
        try:
            return gateway.get(path).status
        except OSError:  # of a worker that was killed
            return 0

    def statuses(path):
        return {status(path) for _ in range(4)}

    with RunningGateway(ini + "[route:one]\nupstream = one\npath = /one\n", tmp_path) as gateway:
        assert statuses("/a") == {201}
        (folder / "b.ini").write_text(route.format("b", 202))
        gateway.wait_for_line("b.ini changed: reloading")
        eventually(lambda: statuses("/b") == {202}, "the route of the new file")
        (folder / "b.ini").write_text(route.format("a", 203))
        gateway.wait_for_line("b.ini:1: [route:a] duplicate section; the first is at")
        gateway.wait_for_line("reload failed; generation 2 keeps serving")
        assert statuses("/b") == {202}
        (folder / "b.ini").unlink()
        eventually(lambda: statuses("/b") == {404}, "the end of the removed route")
        (folder / "a.ini").write_text(route.format("a", 204))
        for pid in gateway.workers:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: statuses("/a") == {204}, "the changed file")
