"""Which request a greenlet serves."""

import gevent
from greenlet import getcurrent

from gproxy.http.request import request
from gproxy.runtime import served
from gproxy.runtime.served import add_finder, is_in_own_greenlet, served_request, serving


def test_a_greenlet_serves_what_is_noted_and_none_of_those_that_it_spawns():
    first, second = request(), request()
    with serving(first):
        with serving(second):
            assert served_request() is second
        assert served_request() is first
        assert gevent.spawn(served_request).get() is None
    assert served_request() is None


def test_whoever_has_the_connections_finds_the_request_of_a_greenlet(monkeypatch):
    monkeypatch.setattr(served, "_finders", [])
    came, here = request(), getcurrent()
    add_finder(lambda one: None)
    add_finder(lambda one: came if one is here else None)
    assert served_request() is came
    assert gevent.spawn(served_request).get() is None
    assert is_in_own_greenlet(came)
