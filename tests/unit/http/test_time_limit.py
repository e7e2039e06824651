"""Time limits with the value and the name of an option."""

import pytest

from gproxy.http.time_limit import ExchangeLimits, TimeLimit


def test_a_limit_of_an_option_is_equal_to_its_kind():
    limit = TimeLimit.READ.of(3.0, "read_timeout of [upstream:app]")
    assert limit == TimeLimit.READ
    assert limit != TimeLimit.TUNNEL
    assert {TimeLimit.READ: "row"}[limit] == "row"
    assert (limit.status, limit.reason, limit.reason_after_head) == (504, "read_timeout", "read_timeout")


@pytest.mark.parametrize(
    ("limit", "text", "cut"),
    [
        (
            TimeLimit.READ.of(3.0, "read_timeout of [upstream:app]"),
            "3 s, read_timeout of [upstream:app]",
            " after 3 s without data (read_timeout of [upstream:app])",
        ),
        (
            TimeLimit.TOTAL.of(0.5, "total_timeout of [gateway]"),
            "0.5 s, total_timeout of [gateway]",
            " after 0.5 s in all (total_timeout of [gateway])",
        ),
        (
            TimeLimit.WRITE,
            "write_timeout of [server]",
            " because the client does not read (write_timeout of [server])",
        ),
        (TimeLimit.DRAINING, "draining timeout", ": draining timeout"),
        (TimeLimit.CUT, "cut timeout", " because an operator has cut it"),
    ],
)
def test_the_texts_of_a_limit(limit, text, cut):
    assert (str(limit), limit.cut) == (text, cut)


def test_requests_without_a_route_have_the_limits_of_the_gateway():
    limits = ExchangeLimits.of_gateway(3.0, 60.0)
    assert (str(limits.head), str(limits.total)) == ("3 s, timeout of [gateway]", "60 s, total_timeout of [gateway]")
    assert ExchangeLimits.of_gateway(3.0).total is None
