"""The code of a generation: all its workers run it, whatever is on the disk by then, and a rollback returns to it."""

import json
import os
import shutil
import signal
import sys

import forked
import pytest
from admin_listener import answer_of, unix_wire

from gproxy.testing.gateway import RunningGateway, eventually

SETTINGS = """
[server]
workers = {workers}
[admin]
bind = unix:{tmp}/admin.sock
[log]
access = off
[handler:greet]
use = shop.greeting:greet
[route:all]
path = /
handlers = greet
respond = 204
[gateway]
timeout = 60s
"""
#: A package with relative imports, one without __init__.py, and a module that the first request imports.
SOURCES = {
    "shop/__init__.py": "from .names import NAME\n",
    "shop/names.py": "NAME = 'one'\n",
    "shop/greeting.py": """
import os
from time import sleep

from gproxy import Response
from parts.words.hello import hello

from . import NAME

def greet(request, next):
    if request.path == "/fail":
        fail()
    while request.path == "/held" and os.path.exists("held"):
        sleep(0.02)
    if request.path == "/late":
        from shop.late import LATE
        return Response(200, LATE.encode())
    return Response(200, f"{hello(NAME)} {os.getpid()} {__file__}".encode())

def fail():
    raise ValueError("a mistake")
""",
    "shop/late.py": "LATE = 'late one'\n",
    "parts/words/hello.py": "def hello(name):\n    return f'hello {name}'\n",
}


class Scene:
    """A gateway, and the folder with its code."""

    def __init__(self, gateway, folder):
        self.gateway = gateway
        self.folder = folder

    def deploy(self, name):
        """Write a version of the code, of another length: the bytecode of files as old and long would be taken for it."""
        for path in ("shop/names.py", "shop/late.py"):
            (self.folder / path).write_text(f"{SOURCES[path].replace('one', name)}# version {name}\n")

    def break_code(self):
        """Leave a deployment half done: no file of the code can be imported."""
        for path in SOURCES:
            (self.folder / path).write_text("half a deployme\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n")

    def greeting(self):
        return self.gateway.get("/").body.decode()

    def pids(self):
        """The processes that answer."""
        return {int(self.greeting().split()[2]) for _ in range(20)}

    def kill(self):
        """Kill a worker, and wait for another one in its place."""
        before = set(self.gateway.workers)
        os.kill(min(self.pids()), signal.SIGKILL)

        def answers():
            new = set(self.gateway.workers) - before
            return len(new) == 1 and new <= self.pids()

        eventually(answers, "an answer of another worker")

    def generations(self):
        return json.loads(self.command("ps", "--json")[1])["generations"]

    def command(self, *arguments):
        done = forked.run(
            [sys.executable, "-m", "gproxy", *arguments, "--config", str(self.gateway.config)],
            capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def scene(tmp_path, request):
    for path, text in SOURCES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    workers = getattr(request, "param", 1)
    with RunningGateway(SETTINGS.replace("{workers}", str(workers)), tmp_path) as gateway:
        gateway.wait_for_line("monitor: serves on")
        yield Scene(gateway, tmp_path)


@pytest.mark.parametrize("scene", [1, 2], indirect=True)
def test_a_worker_that_replaces_a_killed_one_runs_the_code_of_its_generation(scene):
    scene.break_code()
    for _ in range(2):
        scene.kill()
        assert scene.greeting().startswith("hello one ")
        assert scene.greeting().endswith(f" {scene.folder}/shop/greeting.py")
    assert scene.gateway.get("/fail").status == 500
    scene.gateway.wait_for_line("ValueError: a mistake")
    for line, function in (12, "greet"), (21, "fail"):
        assert f'File "{scene.folder}/shop/greeting.py", line {line}, in {function}' in scene.gateway.errors
    assert "newer" not in scene.gateway.errors


def test_the_code_outlives_its_files(scene):
    for folder in ("shop", "parts"):
        shutil.rmtree(scene.folder / folder)
    scene.kill()
    assert scene.greeting().startswith("hello one ")


def test_a_worker_more_runs_the_code_of_its_generation(scene):
    scene.break_code()
    scene.gateway.signal(signal.SIGTTIN)
    eventually(lambda: len(scene.pids()) == 2, "answers of two workers")
    assert {scene.greeting()[:9] for _ in range(20)} == {"hello one"}


def test_a_module_that_is_first_imported_later_comes_from_the_disk_and_is_pinned_from_then_on(scene):
    eventually(lambda: scene.gateway.get("/late").body == b"late one", "a module that is as old as the generation")
    assert "newer" not in scene.gateway.errors
    scene.gateway.reload()
    scene.deploy("two")
    assert scene.gateway.get("/late").body == b"late two"
    line = scene.gateway.wait_for_line("imported late, from files that are newer than the generation: ")
    assert f" {scene.folder}/shop/late.py; HUP lets all workers read them\n" in line
    scene.deploy("three")
    scene.kill()
    assert scene.gateway.get("/late").body == b"late two"
    assert scene.gateway.errors.count("imported late") == 1


def test_a_reload_reads_the_code_on_the_disk(scene):
    scene.deploy("two")
    scene.gateway.reload()
    assert scene.greeting().startswith("hello two ")
    assert scene.gateway.get("/late").body == b"late two"
    assert "newer" not in scene.gateway.errors


def test_rollbacks_return_to_the_settings_and_the_code_of_the_generations_before(scene):
    settings = scene.gateway.config.read_text()
    for number, name in enumerate(("two", "three", "four"), 2):
        scene.deploy(name)
        scene.gateway.config.write_text(f"{settings}[route:{name}]\npath = /{name}\nrespond = 20{number}\n")
        assert scene.command("reload")[:2] == (0, f"reloaded: generation {number} serves\n")
    scene.break_code()
    for number, (name, lost) in enumerate([("three", "four"), ("two", "three"), ("one", "two")], 5):
        assert scene.command("rollback") == (0, f"rolled back: generation {number} serves\n", "")
        scene.kill()
        assert scene.greeting().startswith(f"hello {name} ")
        assert scene.gateway.get(f"/{lost}").status == 200  # of the route for all paths
    assert scene.command("rollback")[0] == 1
    assert scene.greeting().startswith("hello one ")
    status, _, reasons = scene.command("reload")
    assert status == 1
    assert f"cannot import shop.greeting: SyntaxError: invalid syntax ({scene.folder}/shop/__init__.py:1)" in reasons


def test_a_dry_reload_tells_whether_one_would_succeed_and_leaves_the_running_generation_alone(scene):
    before = scene.pids()
    scene.deploy("two")
    settings = scene.gateway.config.read_text()
    scene.gateway.config.write_text(settings.replace("workers = 1", "workers = 2\ngrace = 20s"))
    succeeded = (0, "a reload would succeed; generation 1 keeps serving\n", "")
    assert scene.command("reload", "--dry") == succeeded
    assert scene.greeting().startswith("hello one ")
    scene.gateway.config.write_text(settings + "[route:two]\npath = two\nrespond = 200\n")
    status, printed, reasons = scene.command("reload", "--dry")
    assert (status, printed) == (1, "")
    assert reasons.startswith("dry reload failed; the current generation keeps serving:\n")
    assert f"{scene.gateway.config}:17: [route:two] path: " in reasons
    scene.gateway.config.write_text(settings)
    scene.break_code()
    status, _, reasons = scene.command("reload", "--dry")
    assert status == 1
    assert f"({scene.folder}/shop/__init__.py:1)" in reasons
    eventually(lambda: {*scene.gateway.workers} == before == scene.pids(), "the worker of before alone")
    admin = scene.command("admin", "status", "--json")[1]
    assert '"reloads": []' in admin
    assert '"rollbacks": 0' in admin


def test_two_generations_that_serve_are_shown_side_by_side(scene):
    (scene.folder / "held").write_text("")
    assert scene.gateway.get("/fail").status == 500
    (only,) = scene.generations()
    assert only["requests"] == only["errors"] == 1
    with scene.gateway.connect() as held:
        held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: "/held" in scene.command("ps")[1], "the request in flight")
        scene.gateway.reload()
        for path in ("/fail", "/", "/"):
            scene.gateway.get(path)
        old, new = scene.generations()
        assert [(one["generation"], one["workers"], one["requests"], one["errors"]) for one in (old, new)] == [
            (1, 1, 1, 1), (2, 1, 3, 1),
        ]  # fmt: skip
        assert old["age"] > new["age"]
        assert 0 < new["p99"] < 15
        lines = scene.command("ps")[1].splitlines()
        head = lines.index("   GEN WORKERS     AGE REQUESTS ERRORS     P99")
        assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["1", "2"]
        with unix_wire(f"{scene.folder}/admin.sock") as wire:
            assert b"Generations, since the start of each" in answer_of(wire, "GET /?view=processes", "Host: any").body
        (scene.folder / "held").unlink()
        assert held.read_response().status == 200
