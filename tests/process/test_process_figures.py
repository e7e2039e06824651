"""What the monitor tells of a gateway under load: rates, percentiles, last use, changes, and the stream of events."""

import http.client
import json
import socket

import pytest

from gproxy.commands.live.admin_client import AdminClient
from gproxy.testing.gateway import RunningGateway, eventually

INI = """[log]
access = off
[admin]
bind = unix:{tmp}/admin.sock
[gateway]
handlers = health
[route:all]
path = /
respond = 200
body = hi
[route:never]
path = /never
respond = 204
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A gateway without a metrics handler, whose single worker counts where the monitor reads."""
    with RunningGateway(INI, tmp_path_factory.mktemp("figures")) as gateway:
        gateway.wait_for_line("monitor: serves on")
        eventually(lambda: latest(gateway, "requests") is not None, "the first sample")
        yield gateway


def client(gateway):
    return AdminClient.of(str(gateway.config), None)


def figures(gateway, about="gateway"):
    found = client(gateway).get("/v1/figures", {"about": about})
    return {(one["name"], one["of"]): one["values"] for one in found["figures"]}


def latest(gateway, name):
    return next((value for value in reversed(figures(gateway).get((name, None), [])) if value is not None), None)


def route(gateway, name):
    (found,) = [one for one in client(gateway).get("/v1/routes")["routes"] if one["name"] == name]
    return found


def test_requests_are_counted_over_all_workers(watched):
    before = sum(value or 0 for value in figures(watched)["requests", None])
    for _ in range(20):
        assert watched.get("/").status == 200
    eventually(lambda: sum(value or 0 for value in figures(watched)["requests", None]) >= before + 19.5, "20 requests")
    assert latest(watched, "p99") > 0
    assert latest(watched, "memory") > 10_000_000
    assert ("p50", "all") in figures(watched, "route")


def test_a_route_has_its_last_minute_and_its_last_use(watched):
    watched.get("/x")
    eventually(lambda: route(watched, "all")["last_minute"]["requests"], "a request in the last minute")
    found = route(watched, "all")
    assert found["last_used"] is not None
    assert (found["handlers"], found["paths"]) == (["health"], ["/"])
    assert route(watched, "never")["last_used"] is None
    (handler,) = client(watched).get("/v1/handlers")["handlers"]
    assert (handler["name"], handler["routes"]) == ("health", ["all", "never"])
    assert handler["last_used"] == route(watched, "all")["last_used"]


class Events:
    """A client of the event stream."""

    def __init__(self, gateway, query=""):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(f"{gateway.folder}/admin.sock")
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self._socket
        connection.request("GET", f"/v1/events{query}")
        self.response = connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def next(self, kind):
        """The number and the content of the next event of this kind."""
        number, found = None, None
        while True:
            name, _, text = self.response.readline().decode().rstrip("\n").partition(": ")
            number = int(text) if name == "id" else number
            found = text if name == "event" else found
            if name == "data" and found == kind:
                return number, json.loads(text)


def test_a_reload_is_an_event_at_once_and_the_history_survives_it(watched):
    eventually(lambda: len(client(watched).get("/v1/figures")["times"]) >= 2, "two samples")
    before = client(watched).get("/v1/figures")["times"]
    with Events(watched, "?view=overview") as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        assert events.next("values")[1]["requests"] >= 0
        watched.reload()
        _, change = events.next("change")
        while change["kind"] != "reload":
            _, change = events.next("change")
    found = client(watched).get("/v1/figures")
    assert found["times"][:2] == before[:2]
    assert change in found["marks"]
