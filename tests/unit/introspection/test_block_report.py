"""The report on a block: its line, its place, and how many there are."""

import sys

from gproxy.introspection.block_report import BlockReport, ReportThrottle, place_of, stack_of
from gproxy.introspection.handler_code import HandlerCode
from gproxy.observe.log import NOWHERE, Origin

FILE = "/srv/gateway/handlers.py"


def report(origin=NOWHERE, place=(FILE, 41, "digest"), stack=((FILE, 41, "digest"),), seconds=0.312, omitted=0):
    return BlockReport(1.0, origin, list(stack), place, seconds, omitted)


def test_the_line_names_request_handler_worker_time_and_place():
    made = report(Origin("7f", "GET", "/users/1", "users", "tenant"))
    assert made.message(1) == "7f GET /users/1: handler tenant has blocked worker 1 for 312 ms (handlers.py:41)"


def test_the_next_line_has_the_number_of_those_omitted():
    assert report(omitted=12).message(2).endswith("for 312 ms (handlers.py:41); 12 more since the last report")


def test_a_block_outside_of_handlers_is_named_by_the_request_or_the_greenlet():
    assert report(Origin("7f", "GET", "/")).message(1).startswith("7f GET /: the gateway has blocked")
    assert report().message(1).startswith("greenlet digest has blocked")
    assert report(stack=(), place=None).message(1) == "the event loop has blocked worker 1 for 312 ms"


def test_of_a_thousand_blocks_few_are_reported_and_all_are_accounted_for():
    throttle = ReportThrottle()
    found = [throttle.admit(("tenant", FILE, 41), number * 0.1) for number in range(1000)]
    reports = [omitted for omitted in found if omitted >= 0]
    assert len(reports) == 10
    assert reports == [0] + [99] * 9


def test_other_lines_and_other_handlers_are_reported_for_themselves():
    throttle = ReportThrottle()
    keys = [("tenant", FILE, 41), ("tenant", FILE, 42), ("other", FILE, 41)]
    assert [throttle.admit(key, 5.0) for key in keys] == [0, 0, 0]


def test_the_throttle_does_not_grow_without_bound():
    throttle = ReportThrottle()
    for number in range(3000):
        throttle.admit(("tenant", FILE, number), 5.0)
    assert len(throttle._keys) <= 1000


def test_the_place_is_the_innermost_line_of_the_users_code():
    import json

    found = []

    class Looks(dict):
        def items(self):
            library = sys._getframe(1)
            assert "json" in library.f_code.co_filename
            found.append(place_of(library, HandlerCode({"h": handler})))
            return [("a", 1)]

    def handler(request, next):
        return json.dumps(Looks(a=1), indent=1)

    handler(None, None)
    assert (found[0][0], found[0][2].rpartition(".")[2]) == (__file__, "handler")
    assert place_of(None, HandlerCode({})) is None


def test_the_stack_has_the_outermost_frame_first_and_is_bounded():
    def deeper(count):
        return deeper(count - 1) if count else stack_of(sys._getframe(), HandlerCode({}))

    found = deeper(100)
    assert len(found) == 40
    assert all(name.endswith("deeper") for _, _, name in found)
    assert deeper(0)[-1][0] == __file__


def test_the_monitor_gets_plain_values():
    fields = report(Origin("7f", "GET", "/users/1", "users", "tenant")).fields()
    assert fields["place"] == f"{FILE}:41"
    assert fields["stack"] == [f"{FILE}:41 digest"]
    assert (fields["request_id"], fields["handler"], fields["route"]) == ("7f", "tenant", "users")
