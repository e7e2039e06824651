"""The request on whose behalf code runs, by frames, by connections, and by what has spawned a greenlet."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import gevent
import pytest
from greenlet import greenlet

from gproxy.http.request import Request, request
from gproxy.introspection.current_request import CurrentRequest
from gproxy.introspection.handler_code import HandlerCode
from gproxy.observe.log import NOWHERE


@dataclass
class Alarm:
    greenlet: greenlet


@dataclass
class Connection:
    alarm: Alarm
    request: Request | None

    @property
    def active_requests(self):
        return [self]


class Multiplexed:
    """A connection with many requests."""

    def __init__(self, *active):
        self.active_requests = list(active)


def named(text):
    made = request("GET", f"/{text}")
    made.id = text
    return made


class Spawns:
    """A handler that runs a function, in which way the test says."""

    def __init__(self, run):
        self.run = run

    def __call__(self, request, next):
        return self.run()


class Scene(CurrentRequest):
    """The current request of a gateway with one handler, and with the connections of the test."""

    def __init__(self):
        self.connections = []
        self.handler = Spawns(lambda: None)
        super().__init__(HandlerCode({"spawns": self.handler}), [self.connections])


@pytest.fixture
def current():
    made = Scene()
    made.note_spawned()
    yield made
    made.forget_spawned()


def inside(current, run, text="one"):
    """What `run` returns when the handler calls it for a request of this id."""
    current.handler.run = run
    return current.handler(named(text), None)


def test_the_frame_of_a_handler_shows_its_request(current):
    origin = inside(current, lambda: current.here(sys._getframe()))
    assert (origin.request_id, origin.method, origin.path, origin.handler) == ("one", "GET", "/one", "spawns")
    assert current.here(sys._getframe()) == NOWHERE


@pytest.mark.usefixtures("current")
def test_compiled_code_which_has_no_frames_may_spawn():
    spawned = greenlet(partial(gevent.spawn, int)).switch()
    assert spawned.get() == 0


def in_greenlet(work):
    return gevent.spawn(work).get()


def in_nested_greenlets(work):
    return gevent.spawn(lambda: gevent.spawn(work).get()).get()


def in_executor(work):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


@pytest.mark.parametrize("spawn", [in_greenlet, in_nested_greenlets])
def test_what_a_handler_spawns_belongs_to_its_request(current, spawn):
    assert inside(current, lambda: spawn(lambda: current.here(sys._getframe()))).request_id == "one"


def test_a_greenlet_that_outlives_its_request_keeps_the_id_of_that_one(current):
    started = inside(current, lambda: gevent.spawn(lambda: current.here(sys._getframe())))
    current.connections.append(Connection(Alarm(gevent.getcurrent()), named("later")))
    assert started.get().request_id == "one"


def test_a_connection_is_found_by_its_greenlet(current):
    def serve():
        current.connections.append(Connection(Alarm(gevent.getcurrent()), named("plain")))
        return current.here(sys._getframe())

    found = []
    gevent.spawn_raw(lambda: found.append(serve()))
    gevent.sleep(0)
    assert found[0].request_id == "plain"
    assert found[0].handler == ""


def test_a_native_thread_finds_the_request_that_runs(current):
    ident, found = threading.get_ident(), []

    def look():
        thread = threading.Thread(target=lambda: found.append(current.running(sys._current_frames()[ident])))
        thread.start()
        thread.join()

    inside(current, look)
    assert (found[0].request_id, found[0].handler) == ("one", "spawns")


def test_a_native_thread_finds_a_running_connection_and_no_waiting_one(current):
    """A greenlet of compiled code alone has no frame; the saved part of its stack shows that it waits."""
    found = []
    waiting = gevent.spawn_raw(gevent.get_hub().switch)
    gevent.sleep(0)
    assert waiting.gr_frame is None

    def serve():
        current.connections.append(Connection(Alarm(waiting), named("waits")))
        current.connections.append(Connection(Alarm(gevent.getcurrent()), named("runs")))
        thread = threading.Thread(target=lambda: found.append(current.running(None)))
        thread.start()
        thread.join()

    gevent.spawn_raw(serve)
    gevent.sleep(0)
    assert found[0].request_id == "runs"
    gevent.kill(waiting)


def test_a_thread_of_an_executor_belongs_to_the_request_only_while_it_runs(current):
    """In this process threads are native; under the worker's patches they are greenlets. See the process tests."""
    assert inside(current, lambda: in_executor(lambda: current.here(sys._getframe()))) == NOWHERE


def test_without_handlers_and_connections_there_is_no_request():
    assert CurrentRequest(HandlerCode({}), []).here(sys._getframe()) == NOWHERE


def test_a_request_of_a_connection_with_many_is_found_by_its_own_greenlet(current):
    other = greenlet(int)
    streams = [Connection(Alarm(other), named("other")), Connection(Alarm(gevent.getcurrent()), named("own"))]
    current.connections.append(Multiplexed(*streams))
    assert current.here(None).request_id == "own"
