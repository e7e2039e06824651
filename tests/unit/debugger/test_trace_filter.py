"""Traces of one greenlet, in which the calls of others leave nothing."""

import sys

import gevent
from gevent.event import Event

from gproxy.debugger.trace_filter import GreenletTraceFilter


def called():
    """A function that is called."""


def test_calls_of_other_greenlets_pass():
    found, traces, turn = [], GreenletTraceFilter(), Event()

    def trace(frame, event, arg):
        found.append((gevent.getcurrent(), frame.f_code.co_name))

    def traced():
        traces.add(trace)
        called()
        turn.set()
        gevent.sleep(0)
        called()
        traces.remove_own()
        called()

    def other():
        turn.wait()
        called()

    one, two = gevent.spawn(traced), gevent.spawn(other)
    gevent.joinall([one, two], raise_error=True)
    assert {greenlet for greenlet, _ in found} == {one}
    assert [name for _, name in found].count("called") == 2
    assert len(traces) == 0
    assert sys.gettrace() is None


def test_what_traced_before_traces_again_after_the_last_greenlet():
    def before(frame, event, arg):
        return None

    traces = GreenletTraceFilter()
    sys.settrace(before)
    try:
        traces.add(lambda *_: None)
        assert sys.gettrace() is traces
        traces.remove_own()
        assert sys.gettrace() is before
        traces.remove_own()
        assert sys.gettrace() is before
    finally:
        sys.settrace(None)
