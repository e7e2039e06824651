"""An operator sees the requests in flight of all workers, at which line each waits, and cuts one of them."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import forked
import pytest

from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = 3
grace = 1s
min_rate = 0
[admin]
bind = unix:{tmp}/admin.sock
[gateway]
handlers = health
timeout = 100s
[handler:health]
cache = 0s
[handler:fetches]
use = handlers:fetches
[handler:waits]
use = handlers:waits
[handler:sorts]
use = handlers:sorts
[handler:passes]
use = handlers:passes
[handler:reads]
use = handlers:reads
[handler:asks]
use = forward_auth
upstream = held
timeout = 50s
on_failure = open
[route:asks]
path = /asks
handlers = asks
respond = 200
[route:hedged]
path = /hedged
upstream = hedged
[route:stream]
path = /stream
upstream = moving
[route:fetches]
path = /fetches
handlers = fetches
respond = 200
[route:waits]
path = /waits
handlers = waits
respond = 200
[route:sorts]
path = /sorts
handlers = sorts
respond = 200
[route:passes]
path = /passes
handlers = passes
upstream = held
[route:place]
path = /place
upstream = narrow
[route:upload]
path = /upload
handlers = reads
upstream = held
[route:body]
path = /body
upstream = begun
[route:tunnel]
path = /tunnel
upstream = switched
[upstream:held]
backends = {held}
[upstream:narrow]
backends = {held}
max_requests = 1
queue = 10
queue_timeout = 100s
[upstream:hedged]
backends = {held}, {other}
hedge = 1ms
[upstream:moving]
backends = {moving}
[upstream:begun]
backends = {begun}
[upstream:switched]
backends = {switched}
"""
HANDLERS = """
import os

import requests
from gevent.queue import Queue


def noted(handler):
    def noting(request, next):
        try:
            return handler(request, next)
        finally:
            with open("ended", "a") as file:
                file.write(request.path + chr(10))
    return noting


@noted
def fetches(request, next):
    requests.get(os.environ["HELD"])  # fetches
    return next(request)


@noted
def waits(request, next):
    Queue().get()  # waits
    return next(request)


@noted
def sorts(request, next):
    sorted([1, 2], key=waited)
    return next(request)


def waited(_):
    return Queue().get()  # sorts


@noted
def passes(request, next):
    return next(request)  # passes


@noted
def reads(request, next):
    request.body.buffer(100)  # upload
    return next(request)
"""
#: By the first part of the path: how many there are, and the phases that are right.
PLACES = {
    "fetches": (3, {"handler"}), "waits": (3, {"handler"}), "sorts": (3, {"handler"}), "asks": (2, {"handler"}),
    "passes": (3, {"wait"}), "hedged": (2, {"wait"}), "place": (4, {"wait", "queue"}), "upload": (3, {"upload"}),
    "body": (3, {"body"}), "stream": (1, {"body"}), "tunnel": (3, {"tunnel"}),
}  # fmt: skip
#: The handler that each is in; the head of the others has gone out, so that they are in none.
HANDLER = {
    "fetches": "fetches", "waits": "waits", "sorts": "sorts", "passes": "passes", "upload": "reads", "asks": "asks",
}  # fmt: skip
#: Those that are in a handler of the user, whose line counts.
USERS = {"fetches", "waits", "sorts", "passes", "upload"}
FIELDS = {
    "POST": "Content-Length: 10\r\n",
    "GET": "",
    "tunnel": "Connection: Upgrade\r\nUpgrade: websocket\r\n",
}  # fmt: skip


def hold(peer, _):
    peer.read_all()


def begin(peer, _):
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")
    peer.read_all()


def move(peer, _):
    """Send without an end: each piece sets the alarm anew."""
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.send("1\r\nx\r\n")
        time.sleep(0.001)


def switch(peer, _):
    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    peer.read_all()


class Scene:
    """A gateway with three workers and three backends, and the clients of requests that are held."""

    def __init__(self, stack, folder):
        (folder / "handlers.py").write_text(HANDLERS)
        backends = {"held": hold, "other": hold, "begun": begin, "moving": move, "switched": switch}
        self.backends = {name: stack.enter_context(Actor(act)) for name, act in backends.items()}
        text = INI
        for name, backend in self.backends.items():
            text = text.replace("{%s}" % name, backend.url)
        environ = {"HELD": self.backends["held"].url}
        self.gateway = stack.enter_context(RunningGateway(text, folder, environ=environ))
        self.admin = AdminClient(f"unix:{folder}/admin.sock")
        self.clients = {}
        stack.callback(lambda: [wire.sock.close() for wire in self.clients.values()])

    def send(self, path):
        place = path.split("/")[1]
        method = "POST" if place == "upload" else "GET"
        wire = self.clients[path] = self.gateway.connect()
        wire.send(f"{method} {path}?key=secret HTTP/1.1\r\nHost: a\r\n{FIELDS.get(place, FIELDS[method])}\r\n")

    def requests(self, **query):
        """The requests in flight by their paths; none is there twice."""
        answer = self.admin.get("/v1/requests", query)
        assert answer["missing"] == []
        found = {entry["path"]: entry for entry in answer["requests"]}
        assert len(found) == len(answer["requests"])
        return found

    def is_held(self):
        return {entry["path"] for entry in self.requests().values() if self.is_at_its_place(entry)} == set(self.clients)

    def is_at_its_place(self, entry):
        place = entry["path"].split("/")[1]
        return entry["phase"] in PLACES[place][1] and entry["handler"] == HANDLER.get(place)

    def counts(self):
        """The active attempts and the requests in queues, of all workers."""
        found = {}

        def have_answered():
            report = self.gateway.health()
            attempts = [one["active"] for upstream in report["upstreams"].values() for one in upstream]
            found[report["pid"]] = sum(attempts) + sum(
                limit[key] for limit in report["admission"].values() for key in ("active", "queued")
            )
            return len(found) == 3

        eventually(have_answered, "answers of all workers")
        return sum(found.values())


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with ExitStack() as stack:
        made = Scene(stack, tmp_path_factory.mktemp("in_flight"))
        for place, (count, _) in PLACES.items():
            for number in range(count):
                made.send(f"/{place}/{number}")
        try:
            eventually(made.is_held, "30 requests at their places")
        except AssertionError:
            print([(entry["path"], entry["phase"], entry["handler"]) for entry in made.requests().values()])
            raise
        yield made


def test_thirty_requests_over_three_workers_each_at_its_line(scene):
    found = scene.requests()
    assert len(found) == 30
    assert {entry["worker"] for entry in found.values()} <= {1, 2, 3}
    assert len({entry["worker"] for entry in found.values()}) > 1
    source = (scene.gateway.folder / "handlers.py").read_text().splitlines()
    for path, entry in found.items():
        place = path.split("/")[1]
        assert scene.is_at_its_place(entry), entry
        assert entry["route"] == place
        assert (entry["generation"], entry["client"]) == (1, "127.0.0.1")
        assert entry["tries"] == (2 if place == "hedged" else entry["backend"] is not None)
        assert 0 < entry["age"] < 100
        if place in USERS:
            file, _, number = entry["line"].rpartition(":")
            assert (Path(file).name, source[int(number) - 1].endswith(f"# {place}")) == ("handlers.py", True)
        if place == "upload":
            assert entry["remaining"] == "waiting for the client"
        elif place in {"body", "stream", "tunnel"}:
            assert entry["remaining"] is None
        else:
            assert 0 < entry["remaining"] < 100
    waiting = [entry for path, entry in found.items() if path.startswith("/place") and entry["phase"] == "wait"]
    assert len(waiting) == len({entry["worker"] for path, entry in found.items() if path.startswith("/place")})
    assert {entry["backend"] for path, entry in found.items() if path.startswith("/body")} == {
        scene.backends["begun"].url.removeprefix("http://")
    }


def test_filters_choose_and_the_oldest_is_the_first(scene):
    assert {entry["phase"] for entry in scene.requests(phase="tunnel").values()} == {"tunnel"}
    assert len(scene.requests(upstream="held")) == 3
    assert len(scene.requests(route="waits", client="127.0.0.0/8", older="1ms")) == 3
    assert scene.requests(older="1h") == {}
    ages = [entry["age"] for entry in scene.requests(limit="7").values()]
    assert len(ages) == 7
    assert ages == sorted(ages, reverse=True)
    with pytest.raises(AdminError, match="phase: expected one of handler, queue"):
        scene.requests(phase="sleep")
    with pytest.raises(AdminError, match="client: '1/99' is no address and no network"):
        scene.requests(client="1/99")


def test_the_stack_of_one_request(scene):
    entry = scene.requests()["/sorts/0"]
    found = scene.admin.get(f"/v1/requests/{entry['id']}")
    names = [frame.rsplit(" ", 1)[1] for frame in found["stack"]]
    assert names[:3] == ["noted.<locals>.noting", "sorts", "waited"]
    assert (found["phase"], found["paused"], found["greenlets"]) == ("handler", 0, [])
    with pytest.raises(AdminError, match=r"404 .*no request in flight has the id x"):
        scene.admin.get("/v1/requests/x")


def test_no_answer_has_a_query(scene):
    assert "secret" not in json.dumps(scene.admin.get("/v1/requests", {"stack": "all"}))


def test_ps_shows_workers_then_requests(scene):
    def ps(*arguments):
        command = [sys.executable, "-m", "gproxy", "ps", "--config", str(scene.gateway.config), *arguments]
        return forked.run(command, capture_output=True, text=True, check=True).stdout

    lines = ps("--route", "waits").splitlines()
    assert lines[0].split()[:4] == ["WORKER", "GEN", "PID", "STATE"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[5] == "3 requests in flight"
    assert sorted(line.split()[-1] for line in lines[7::2]) == [f"/waits/{number}" for number in range(3)]
    assert {line.split("  ")[2] for line in lines[8::2]} == {"waits"}
    assert all(line.rpartition("  ")[2].startswith("handlers.py:") for line in lines[8::2])
    assert max(map(len, lines)) <= 80
    shown = json.loads(ps("--older", "1ms", "--stack", "--json"))
    assert (len(shown["workers"]), len(shown["requests"])) == (3, 30)
    assert all(entry["stack"] is not None for entry in shown["requests"])
    entry = scene.requests()["/fetches/1"]
    assert "\nstack       " in ps("--id", entry["id"])


@pytest.mark.parametrize("place", PLACES)
def test_a_cut_ends_one_request_and_no_other(scene, place):
    path = f"/{place}/0"
    before = scene.requests()
    answer = scene.admin.send("DELETE", f"/v1/requests/{before[path]['id']}")
    assert (answer["cut"], answer["before"]["path"]) == (True, path)
    eventually(lambda: set(scene.requests()) == set(before) - {path}, "the end of the request")
    with scene.clients.pop(path) as wire:
        response = wire.read_response()
        if place == "body":
            assert (response.status, response.body, response.complete) == (200, b"begin", False)
        elif place == "stream":
            assert (response.status, response.complete) == (200, False)
        elif place == "tunnel":
            assert response.status == 101
            assert wire.is_closed()
        else:
            assert (response.status, json.loads(response.body)["detail"]) == (503, "an operator has ended the request")
    assert scene.gateway.line(path)["reason"] == "cut"
    method = "POST" if place == "upload" else "GET"
    line = scene.gateway.wait_for_line(f" request {before[path]['id']} {method} {path} by ")
    assert line.endswith(f": {before[path]['phase']} -> cut\n")
    if place in USERS:
        eventually(lambda: path in (scene.gateway.folder / "ended").read_text().split(), "the handler's finally")
    with pytest.raises(AdminError, match="404"):
        scene.admin.send("DELETE", f"/v1/requests/{before[path]['id']}")


def test_after_all_are_cut_nothing_is_left(scene):
    for entry in scene.requests().values():
        scene.admin.send("DELETE", f"/v1/requests/{entry['id']}")
    eventually(lambda: scene.requests() == {}, "the end of all requests")
    eventually(lambda: scene.counts() == 0, "release of all leases")
    upstreams = scene.gateway.health()["upstreams"].values()
    assert {(one["state"], one["failures"]) for upstream in upstreams for one in upstream} == {("healthy", 0)}
