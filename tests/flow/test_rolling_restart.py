"""Backends that die and come back: as long as one lives, a GET is answered."""

import threading

import pytest

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway

INI = """
[gateway]
handlers = health
[route:two]
path = /two
upstream = two
[route:spare]
path = /spare
upstream = spare
[route:named]
path = /named
upstream = named
[upstream:two]
backends = {one}, {other}
retries = 3
[upstream:spare]
backends = http://127.0.0.1:9, {one} backup
[upstream:named]
backends = http://nowhere.invalid:80
"""


class Restartable:
    """A backend on one port that can go away and come back, as a process that is killed and restarted."""

    def __init__(self, body):
        self.body = body
        self.backend = Backend(answering(body=body))
        self.port = self.backend.port
        self.url = self.backend.url
        self.backend.__enter__()

    def kill(self):
        self.backend.stop()

    def restart(self):
        self.backend = Backend(answering(body=self.body), port=self.port)
        self.backend.__enter__()


@pytest.fixture
def stage(tmp_path):
    one, other = Restartable(b"one"), Restartable(b"other")
    with RunningGateway(INI.format(one=one.url, other=other.url), tmp_path) as gateway:
        yield gateway, one, other
    one.kill()
    other.kill()


def test_the_second_one_dies_while_the_first_is_still_left_out(stage):
    gateway, one, other = stage
    one.kill()
    assert {gateway.get("/two").body for _ in range(8)} == {b"other"}
    one.restart()
    other.kill()
    assert {gateway.get("/two").body for _ in range(8)} == {b"one"}


def test_a_backup_takes_the_request_that_finds_the_first_one_dead(stage):
    gateway, _, _ = stage
    assert [gateway.get("/spare").body for _ in range(5)] == [b"one"] * 5


def test_backends_killed_and_restarted_under_load_lose_no_get(stage):
    gateway, one, other = stage
    lost = []
    stop = threading.Event()

    def client():
        with gateway.connect() as wire:
            while not stop.is_set():
                wire.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = wire.read_response()
                if answer.status != 200:
                    lost.append(answer)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    for _ in range(4):
        for backend in (one, other):
            backend.kill()
            gateway.get("/two")
            backend.restart()
            gateway.get("/two")
    stop.set()
    for thread in clients:
        thread.join()
    assert lost == []


def test_a_name_that_does_not_resolve_is_said_to_be_that(stage):
    gateway, _, _ = stage
    answer = gateway.get("/named")
    assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=dns_error")
    assert gateway.access()[-1]["reason"] == "dns_error"
