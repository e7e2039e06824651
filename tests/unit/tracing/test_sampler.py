"""What the sampler decides, and what it gives a request."""

import math
from random import Random
from types import SimpleNamespace

import pytest

from gproxy.config.sections.trace import TraceSettings
from gproxy.config.types import Percent, Rate, Seconds
from gproxy.http.request import request
from gproxy.http.trace import NO_TRACE
from gproxy.http.trust import UNIX_PEER, Trust
from gproxy.tracing.request_trace import TraceOutput
from gproxy.tracing.sampler import RateCap, RouteShares, TraceSampler
from gproxy.tracing.trace_context import parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FREE = Rate(10**9, Seconds(1))


def sampler(share=0.0, *, cap=None, own=(), **options):
    settings = TraceSettings(sample=Percent(share), **options)
    shares = RouteShares(share, dict(own))
    output = TraceOutput(lambda record: None)
    return TraceSampler(settings, Trust([]), shares, output, cap=cap or RateCap(FREE), random=Random(1))


def asked(flag, client="192.0.2.1", **more):
    return request(headers={"traceparent": f"00-{TRACE}-{SPAN}-{flag}", **more}, client=client)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_the_share_holds_within_its_bounds(share):
    rule = sampler(share)
    hits = sum(rule.wants(request()) for _ in range(10_000))
    assert abs(hits - 10_000 * share) < 4 * math.sqrt(10_000 * share * (1 - share))


@pytest.mark.parametrize(("share", "hits"), [(0.0, 0), (1.0, 200)])
def test_none_and_all_are_exact(share, hits):
    rule = sampler(share)
    assert sum(rule.wants(request()) for _ in range(200)) == hits


def test_a_route_has_its_own_share():
    matched = request()
    matched.route = SimpleNamespace(name="all")
    assert sampler(0.0, own={"all": 1.0}).wants(matched)
    assert not sampler(1.0, own={"all": 0.0}).wants(matched)
    assert sampler(1.0, own={"other": 0.0}).wants(matched)
    assert sampler(1.0, own={"all": 0.0}).wants(request())


@pytest.mark.parametrize(
    ("parent", "client", "is_believed"),
    [
        ("trusted", "192.0.2.1", False),
        ("trusted", UNIX_PEER, True),
        ("always", "192.0.2.1", True),
        ("never", UNIX_PEER, False),
    ],
)
def test_the_flag_counts_by_who_sends_it(parent, client, is_believed):
    made = asked("01", client)
    assert sampler(0.0, parent=parent).wants(made) is is_believed
    assert (made.exchange.trace_ids[0] == TRACE) is is_believed
    unsampled = asked("00", client)
    assert sampler(1.0, parent=parent).wants(unsampled) is not is_believed


def test_an_untrusted_trace_is_linked():
    made = asked("01", tracestate="a=1")
    assert sampler(1.0).wants(made)
    assert made.trace.server.links == [(TRACE, SPAN)]
    assert made.trace.server.parent_id == ""
    assert made.headers.get("tracestate") is None


def test_a_trusted_trace_is_continued_with_its_state():
    made = asked("01", tracestate="a=1,b=2")
    assert sampler(parent="always").wants(made)
    assert made.exchange.trace_ids[0] == TRACE and made.exchange.trace_ids[2] == SPAN
    assert made.headers["tracestate"] == "a=1,b=2"


def test_an_unsampled_request_gets_ids_and_no_object_of_its_own():
    made = request()
    assert not sampler(0.0).wants(made)
    assert made.trace is NO_TRACE
    sent = parse(made.headers["traceparent"])
    assert sent is not None and not sent.sampled
    assert made.exchange.trace_ids == (sent.trace_id, sent.span_id, "")


def test_the_rate_bounds_what_clients_ask_for_too():
    now = [100.0]
    rule = sampler(1.0, parent="always", cap=RateCap(Rate(5, Seconds(1)), lambda: now[0]))
    made = [asked("01") for _ in range(20)]
    assert sum(map(rule.wants, made)) == 5
    assert made[-1].headers["traceparent"].endswith("-00")
    assert made[-1].exchange.trace_ids[0] == TRACE
    now[0] += 0.99
    assert not rule.wants(request())
    now[0] += 0.01
    assert sum(rule.wants(request()) for _ in range(20)) == 5
