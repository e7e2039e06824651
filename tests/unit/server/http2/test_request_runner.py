"""The greenlets that serve streams: each serves one after the other, and forgets what its last client has left."""

import logging
from contextvars import ContextVar

import gevent
import pytest
from gevent.event import Event
from greenlet import GreenletExit

from gproxy.http.h2.frames import NO_ERROR
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.runtime.served import served_request
from gproxy.server.http2 import request_runner as module

pytestmark = pytest.mark.timeout(20)


def test_a_greenlet_serves_one_stream_after_the_other(scene):
    some = scene()
    served = []
    some.gateway.answer = lambda request: served.append(gevent.getcurrent()) or Response(200)
    for _ in range(3):
        some.response(some.request())
    assert len(set(served)) == 1
    assert len(some.runtime.process.parked_streams) == 1


def test_as_many_are_parked_as_are_worth_it(scene, monkeypatch):
    monkeypatch.setattr(module, "_PARKED", 2)
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    streams = [some.request() for _ in range(5)]
    some.until(lambda: len(some.connection.active_requests) == 5)
    go.set()
    assert [some.response(one)[0] for one in streams] == [200] * 5
    some.recorded(5)
    assert len(some.runtime.process.parked_streams) == 2


def test_a_request_is_found_by_its_greenlet(scene):
    some = scene()
    found = []
    some.gateway.answer = lambda request: found.append(served_request() is request) or Response(200)
    some.response(some.request())
    assert found == [True]


def test_context_variables_of_one_client_do_not_reach_the_next(scene):
    some = scene()
    user = ContextVar("user", default="")
    seen = []
    some.gateway.answer = lambda request: seen.append(user.get()) or (user.set("alice") and Response(200))
    for _ in range(2):
        some.response(some.request())
    assert seen == ["", ""]


def test_a_greenlet_that_is_killed_serves_no_other_stream(scene):
    some = scene()
    begun = []

    def answer(request):
        begun.append(gevent.getcurrent())
        Event().wait()

    some.gateway.answer = answer
    stream = some.request()
    some.until(lambda: begun)
    gevent.get_hub().loop.run_callback(begun[0].throw)
    assert some.reset_code(stream) == 8
    some.until(lambda: begun[0].dead)
    assert not some.runtime.process.parked_streams
    some.gateway.answer = lambda request: Response(200)
    assert some.response(some.request())[0] == 200


@pytest.mark.parametrize("thrown", [gevent.Timeout(), Expired(TimeLimit.DEADLINE)])
def test_what_is_thrown_after_a_request_ends_nothing(scene, thrown):
    some = scene()
    served = []
    some.gateway.answer = lambda request: served.append(gevent.getcurrent()) or Response(200)
    some.response(some.request())
    some.recorded()
    gevent.get_hub().loop.run_callback(served[0].throw, thrown)
    gevent.sleep(0)
    assert some.response(some.request())[0] == 200
    gevent.get_hub().loop.run_callback(served[0].throw, thrown)  # in the turn in which the next request begins
    assert some.response(some.request())[0] == 200
    assert len(set(served)) == 1


@pytest.mark.parametrize("thrown", [gevent.Timeout(), GreenletExit()])
def test_what_is_thrown_while_the_client_may_end_its_upload_keeps_no_stream(scene, thrown):
    some = scene(max_streams=1)

    def answer(request):
        gevent.get_hub().loop.timer(0.01).start(gevent.getcurrent().throw, thrown)  # such as a timer left running
        return Response(200, b"enough")

    some.gateway.answer = answer
    stream = some.request("POST", body=b"begun", end=False)
    assert some.response(stream)[0] == 200
    assert some.reset_code(stream) == NO_ERROR
    some.gateway.answer = lambda request: Response(200)
    assert some.response(some.request())[0] == 200


def test_a_parked_greenlet_that_is_killed_gets_no_stream(scene):
    some = scene()
    served = []
    some.gateway.answer = lambda request: served.append(gevent.getcurrent()) or Response(200)
    some.response(some.request())
    some.recorded()
    gevent.get_hub().loop.run_callback(served[0].throw)
    some.until(lambda: served[0].dead)
    stream = some.request()
    assert some.response(stream)[0] == 200
    gevent.get_hub().loop.run_callback(served[1].throw, GreenletExit)
    assert some.response(some.request())[0] == 200


def test_a_deadline_that_a_handler_keeps_reaches_no_other_request(scene):
    some = scene()
    kept = []

    def answer(request):
        kept.append(request.deadline)
        if len(kept) > 1:
            gevent.sleep(0.05)
        return Response(200)

    some.gateway.answer = answer
    some.response(some.request())
    stream = some.request()
    some.until(lambda: len(kept) == 2)
    kept[0].wait(TimeLimit.READ.of(0.01, "read_timeout"))  # as `next` does in a greenlet that outlives its request
    assert some.response(stream)[0] == 200


def test_a_cut_reaches_only_the_request_that_it_was_for(scene):
    some = scene()
    go = Event()

    def answer(request):
        try:
            go.wait()
        except Expired as expired:
            return Response(expired.limit.status)
        return Response(200)

    some.gateway.answer = answer
    stream, other = some.request(), some.request()
    some.until(lambda: len(some.connection.active_requests) == 2)
    some.connection.active_requests[0].cut(TimeLimit.CUT)
    assert some.response(stream)[0] == 503
    go.set()
    assert some.response(other)[0] == 200


def test_a_greenlet_that_fails_between_two_requests_takes_none_of_its_turn_along(scene, monkeypatch):
    """The error of a request is logged, and the log fails: nothing but the loop is left to catch that."""
    some = scene()
    served = []

    def accept(host, headers):
        served.append(len(served))
        if served == [0]:
            raise ZeroDivisionError
        return True

    def fail(record):
        raise KeyError("no log")

    errors = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *what: errors.append(what[1]))
    log = logging.getLogger("gproxy")
    log.addFilter(fail)
    try:
        some.accept = accept
        streams = [some.client.request("GET", "http", "a", "/", some.headers(), end=True) for _ in range(4)]
        some.send()
        assert [some.response(one)[0] for one in streams[1:]] == [200] * 3
    finally:
        log.removeFilter(fail)
    assert served == [0, 1, 2, 3]
    assert errors == [KeyError]
