"""A handler's own request: what it takes over from the client's request, and when it ends."""

import math
from time import monotonic

import gevent
import pytest

from gproxy.http.body import NO_BODY
from gproxy.http.headers import Headers
from gproxy.http.request import HTTP2, Received, request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime import Runtime
from gproxy.runtime.expired import Expired
from gproxy.runtime.subrequest import subrequest
from gproxy.testing import answer


def test_what_it_takes_over_and_what_not():
    came = request("POST", "/x?y", {"Host": "a.test", "X-Own": "1"}, b"body", client="192.0.2.9")
    came.user, came.context["key"], came.upgrade = "alice", "value", "websocket"
    came.backend, came.tries = "b:1", 2
    with subrequest(came, target="/ask?z", headers={"X-Mine": "2"}, timeout=5) as asked:
        assert (asked.method, asked.path, asked.query, asked.target) == ("GET", "/ask", "z", "/ask?z")
        assert (asked.id, asked.client, asked.host, asked.user) == ("test", "192.0.2.9", "a.test", "alice")
        assert (asked.received.peer, asked.upgrade, asked.body) == ("192.0.2.9", None, NO_BODY)
        assert asked.headers.items() == [("X-Mine", "2")]
        assert (asked.context, asked.tries, asked.backend, asked.is_rewritten) == ({}, 0, None, False)
        assert asked.is_subrequest
        assert not came.is_subrequest
    assert (came.tries, came.backend) == (2, "b:1")


def test_what_a_client_has_never_indexed_stays_with_its_request():
    came, own = request(headers={"X-Key": "1"}), Headers({"X-Own": "1"})
    came.received._headers.never_index(["x-key"])
    with subrequest(came, headers=own, timeout=5) as asked:
        assert asked.received.never_indexed == ["x-key"]
    assert own.never_indexed == []
    with subrequest(request(), headers=own, timeout=5) as asked:
        assert asked.received.never_indexed == []


def test_it_has_a_body_of_bytes():
    with subrequest(request(), "POST", body=b"abc", timeout=5) as asked:
        assert asked.body.length == 3
        assert asked.body.read() == b"abc"


@pytest.mark.parametrize(("timeout", "left", "expected"), [(5, math.inf, 5), (5, 2, 2), (1, 2, 1)])
def test_the_nearer_end_counts(timeout, left, expected):
    came = request()
    came.deadline.set(monotonic() + left)
    with subrequest(came, timeout=timeout) as asked:
        assert asked.deadline.remaining() == pytest.approx(expected, abs=0.5)
        asked.deadline.renew()  # as after each piece of an upload
        asked.deadline.wait(TimeLimit.READ.of(60, "r"))
        asked.deadline.resume()
        assert asked.deadline.remaining() == pytest.approx(expected, abs=0.5)


def test_its_timeout_ends_any_wait_in_the_block():
    with pytest.raises(Expired) as raised, subrequest(request(), timeout=0.01, option="timeout of mine"):
        gevent.sleep(5)
    assert str(raised.value.limit) == "0.01 s, timeout of mine"


def test_no_timeout_follows_the_block():
    with subrequest(request(), timeout=0.01):
        pass
    gevent.sleep(0.05)


@pytest.mark.parametrize("fails", [False, True])
def test_leases_end_with_the_block(fails):
    ended = []
    try:
        with subrequest(request(), timeout=1) as asked:
            asked.at_end(lambda: ended.append(True))
            assert ended == []
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert ended == [True]


def test_a_test_enters_an_upstream_of_its_own():
    runtime, upstream = Runtime(), answer(200, b"yes")
    runtime.upstreams["flags"] = upstream
    with subrequest(request(), target="/a", timeout=1) as asked:
        assert runtime.ask("flags", asked).read() == b"yes"
    assert upstream.requests[0].path == "/a"
    with pytest.raises(LookupError):
        runtime.ask("other", asked)


def test_it_has_the_version_of_the_clients_request():
    came = request()
    came.received = Received("GET", "/", 1, Headers(), "192.0.2.9", None, HTTP2, "2.0")
    with subrequest(came, timeout=5) as asked:
        assert (asked.received.protocol, asked.received.via) == (HTTP2, "2.0")
