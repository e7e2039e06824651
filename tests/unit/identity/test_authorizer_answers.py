"""What may be kept of an authorizer's answers, and equal calls that wait for each other."""

import gevent
import pytest

from gproxy.http.headers import Headers
from gproxy.http.request import request
from gproxy.identity import authorizer_answers
from gproxy.identity.authorizer_answers import AuthorizerAnswer, EqualCalls, KeptAnswers, lifetime


def answer(status=200, headers=(), body=b""):
    return AuthorizerAnswer(status, "", Headers(headers), body)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {}, 60),
        (204, {}, 60),
        (401, {}, 60),
        (403, {}, 60),
        (302, {}, 0),
        (404, {}, 0),
        (200, {"Set-Cookie": "a=1"}, 0),
        (200, {"Cache-Control": "no-store"}, 0),
        (200, {"Cache-Control": "No-Cache"}, 0),
        (200, {"Cache-Control": "max-age=10, private"}, 0),
        (200, {"Cache-Control": 'private="x"'}, 0),
        (200, {"Cache-Control": "max-age=10"}, 10),
        (200, {"Cache-Control": 'max-age="10"'}, 10),
        (200, {"Cache-Control": "max-age=600"}, 60),
        (200, {"Cache-Control": "max-age=10, s-maxage=5"}, 5),
        (200, {"Cache-Control": "max-age=10", "Age": "4"}, 6),
        (200, {"Cache-Control": "max-age=10", "Age": "40"}, 0),
        (200, {"Cache-Control": "max-age=soon"}, 0),
        (200, {"Cache-Control": "public"}, 60),
        (200, {"Vary": "*"}, 0),
        (200, {"Vary": "Cookie"}, 60),
    ],
)
def test_how_long_an_answer_may_be_kept(status, headers, seconds):
    assert lifetime(answer(status, headers), 60) == seconds


def test_an_answer_counts_until_its_end():
    kept, good = KeptAnswers(), answer()
    kept.keep(b"a", good, 100.0, 10.0)
    kept.keep(b"b", good, 100.0, 0.0)
    assert (kept.find(b"a", 109.9), kept.find(b"a", 110.0), kept.find(b"b", 100.0)) == (good, None, None)


def test_bad_answers_do_not_push_out_good_ones():
    kept = KeptAnswers()
    kept.keep(b"good", answer(), 0.0, 60.0)
    for number in range(5000):
        kept.keep(b"bad%d" % number, answer(401), 0.0, 60.0)
    assert kept.find(b"good", 1.0) is not None
    assert kept.find(b"bad0", 1.0) is None
    assert kept.find(b"bad4999", 1.0) is not None


def test_the_bytes_of_all_answers_are_bounded():
    kept = KeptAnswers()
    for number in range(1000):
        kept.keep(b"%d" % number, answer(body=bytes(64 * 1024)), 0.0, 60.0)
    found = [number for number in range(1000) if kept.find(b"%d" % number, 1.0)]
    assert len(found) * 64 * 1024 <= authorizer_answers.BYTES
    assert found[-1] == 999
    kept.keep(b"huge", answer(body=bytes(authorizer_answers.BYTES)), 0.0, 60.0)
    assert kept.find(b"huge", 1.0) is None


def test_an_equal_call_waits_for_the_first_one():
    calls, order = EqualCalls(), []

    def wait():
        order.append(calls.wait(b"a", request()))

    assert calls.wait(b"a", request()) is None
    with calls.running(b"a") as call:
        waiting = gevent.spawn(wait)
        gevent.sleep(0)
        assert (order, calls.wait(b"b", request())) == ([], None)
        call.has_answer = True
    waiting.join(1)
    assert order == [True]
    assert calls.wait(b"a", request()) is None


def test_a_call_that_fails_has_no_answer():
    calls = EqualCalls()

    def fail():
        with calls.running(b"a"):
            gevent.sleep(0)
            raise KeyError

    waiting = [gevent.spawn(calls.wait, b"a", request()) for _ in range(2)]
    with pytest.raises(KeyError):
        fail()
    gevent.joinall(waiting, timeout=1)
    assert [one.value for one in waiting] == [False, False]
