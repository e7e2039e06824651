"""What the monitor gets of exchanges, and the metrics of handlers."""

import marshal

import pytest

from gproxy.gateway.watch.observers import MOST, ExchangeFeed, HandlerDurations
from gproxy.gateway.watch.time_account import Attempt, TimeAccount
from gproxy.http.deadline import Deadline
from gproxy.http.exchange import Exchange
from gproxy.observe.metrics import Metrics
from gproxy.runtime.feed import Feed


def exchange(**fields):
    found = Exchange(1000.0, "192.0.2.1", "GET", "/x", "HTTP/1.1")
    for name, value in ({"status": 200, "route": "r"} | fields).items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, None),
        ({"status": 404, "reason": "no_route"}, None),
        ({"status": 499, "reason": "client_gone"}, None),
        ({"status": 502}, "failed"),
        ({"reason": "backend_reset"}, "failed"),
        ({"duration": 1.1}, "slow"),
        ({"duration": 1.1, "is_tunnel": True}, None),
        ({"duration": 1.1, "is_endless": True}, None),
        ({"duration": 1.1, "route": "stream"}, None),
        ({"duration": 1.1, "route": "stream", "status": 504}, "failed"),
    ],
)
def test_failed_and_slow_requests_are_passed_on(fields, kind):
    feed = Feed()
    ExchangeFeed(feed, slow=1.0, streams=["stream"]).record(exchange(**fields))
    assert [record[2]["kind"] for record in feed.take(10)] == ([kind] if kind else [])


@pytest.mark.parametrize(("ids", "shown"), [(("", "", ""), None), (("a" * 32, "b" * 16, ""), "a" * 32)])
def test_a_record_has_the_id_of_the_trace(ids, shown):
    feed = Feed()
    ExchangeFeed(feed, slow=1.0, streams=()).record(exchange(status=502, trace_ids=ids))
    assert feed.take(1)[0][2]["trace_id"] == shown


def test_a_record_has_the_account_of_a_watched_request_and_can_be_marshalled():
    account = TimeAccount(Deadline())
    account.parts["backend"] = 0.5
    account.attempts.append(Attempt("a:80", "connect_refused", 0.1))
    feed = Feed()
    ExchangeFeed(feed, slow=1.0, streams=()).record(exchange(status=502, account=account, target="/" + "x" * 9000))
    (record,) = feed.take(10)
    assert record[2]["account"] == {"backend": 0.5}
    assert record[2]["attempts"] == [{"backend": "a:80", "outcome": "connect_refused", "seconds": 0.1}]
    assert len(record[2]["path"]) == 2048
    assert marshal.loads(marshal.dumps([record])) == [record]


def test_a_flood_of_failures_is_cut_and_counted():
    feed, now = Feed(), [5.0]
    observer = ExchangeFeed(feed, slow=1.0, streams=(), clock=lambda: now[0])
    for _ in range(MOST + 7):
        observer.record(exchange(status=503))
    assert (len(feed.take(10_000)), feed.dropped) == (MOST, 7)
    now[0] = 6.0
    observer.record(exchange(status=503))
    assert (len(feed.take(10_000)), feed.dropped) == (1, 7)


def test_only_watched_requests_count_for_the_metrics_of_handlers():
    metrics = Metrics()
    observer = HandlerDurations(metrics)
    observer.record(exchange())
    account = TimeAccount(Deadline())
    account.parts["handler.jwt"] = 0.002
    observer.record(exchange(account=account))
    rows = {row.labels: row.cells[0] for row in metrics.read() if row.name == "gproxy_handler_duration_seconds"}
    assert rows == {("jwt",): 0.002}
