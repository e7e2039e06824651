"""Functions side by side: their results, their exceptions, and their end."""

import gevent
import pytest

from gproxy import gather
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.runtime.served import served_request, serving


def failing():
    raise KeyError("a")


class Waiting:
    """A call that waits for a long time, and notes its end."""

    has_ended = False

    def __call__(self):
        try:
            gevent.sleep(60)
        finally:
            gevent.sleep(0)  # as one that gives back what it holds
            self.has_ended = True


def test_results_come_in_the_order_of_the_functions():
    first, second = gevent.event.Event(), gevent.event.Event()

    def one():
        first.set()
        assert second.wait(5)
        return 1

    def two():
        second.set()
        assert first.wait(5)
        return 2

    assert gather(one, two) == [1, 2]
    assert gather() == []


def test_the_first_exception_ends_the_others():
    waiting = Waiting()
    with pytest.raises(KeyError) as raised:
        gather(waiting, failing)
    assert waiting.has_ended
    assert raised.traceback[-1].name == "failing"


def test_in_part_exceptions_are_results():
    def late():
        with gevent.Timeout(0.01):
            gevent.sleep(5)

    one, two, three = gather(failing, late, lambda: 3, partial=True)
    assert (type(one), type(two), three) == (KeyError, gevent.Timeout, 3)


def test_what_is_no_exception_is_no_result():
    def leave():
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        gather(leave, partial=True)


@pytest.mark.parametrize("partial", [False, True])
def test_a_limit_of_whoever_waits_ends_all(partial):
    waiting = Waiting(), Waiting()
    with pytest.raises(Expired), gevent.Timeout(0.01, Expired(TimeLimit.DEADLINE)):
        gather(*waiting, partial=partial)
    assert [one.has_ended for one in waiting] == [True, True]


def test_all_of_them_serve_the_request_that_waits_and_within_each_other():
    came = request()
    with serving(came):
        (found,) = gather(lambda: gather(served_request, served_request))
    assert found == [came, came]
    assert served_request() is None
    with serving(came):
        assert gevent.spawn(served_request).get() is None


def test_one_that_does_not_end_delays_nobody_for_long():
    def stubborn():
        while True:
            try:
                gevent.sleep(3)
                return
            except gevent.GreenletExit:
                pass

    with gevent.Timeout(2), pytest.raises(KeyError):
        gather(stubborn, failing)
