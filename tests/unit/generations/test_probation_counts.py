"""What a worker reports of its requests: how many, how many failed in handlers, and the last one's handler."""

from gproxy.gateway.user_code import place
from gproxy.generations.probation_counts import ProbationCounts
from gproxy.http.errors import HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.request import request
from gproxy.http.time_limit import TimeLimit
from gproxy.introspection.handler_code import HandlerCode
from gproxy.runtime.expired import Expired

ERROR = HTTPError(500)


def greet(request, next):
    helper()


def helper():
    raise ValueError("no\nsecond line")


def late(request, next):
    raise Expired(TimeLimit.DEADLINE)


def noted(handler):
    counts = ProbationCounts(HandlerCode({"greet": greet, "late": late}).name, place)
    try:
        handler(None, None)
    except (Expired, ValueError, ArithmeticError) as error:
        counts.note(error, ERROR, request())
    return counts.read()[2]


def test_requests_and_failures_in_handlers_are_counted():
    counts = ProbationCounts(lambda _: "", place)
    for reason in ("", "handler_error", "connect_refused", "handler_timeout", "rate_limited"):
        exchange = Exchange(0.0, "", "GET", "/", "HTTP/1.1")
        exchange.reason = reason
        counts.record(exchange)
    assert counts.read() == (5, 2, "")


def test_the_last_failure_names_handler_exception_and_line():
    line = helper.__code__.co_firstlineno + 1
    assert noted(greet) == f"handler greet: ValueError: no second line ({__file__}:{line})"


def test_a_handler_that_is_late_is_named():
    assert noted(late).startswith(f"handler late: did not finish in time ({__file__}:")


def test_code_outside_of_handlers_is_named_by_its_route():
    assert noted(lambda *_: 1 / 0).startswith("a handler: ZeroDivisionError: division by zero (")


def test_a_long_text_is_cut():
    def greedy(*_):
        raise ValueError("x" * 1000)

    assert len(noted(greedy)) < 400
