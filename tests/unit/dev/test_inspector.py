"""The records that a worker feeds for the inspector: bounded, and none without a monitor."""

from types import SimpleNamespace

from gproxy.dev.inspector import KIND, Inspector
from gproxy.gateway.watch.capture import Capture
from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.http.response import Response
from gproxy.runtime.feed import Feed
from gproxy.testing import request


def inspector(feed):
    return Inspector(None, SimpleNamespace(feed=feed))


def records(feed):
    return feed.take(100)


def captured(size=10):
    sent = request("POST", "/a", {}, b"x" * size)
    capture = Capture(sent, Inspector.body_limit)
    sent.exchange.account = TimeAccount(sent.deadline, capture)
    capture.finish_response(Response(200, b"y" * size))
    return capture, sent.conclude(200, 0.1, size)


def test_a_record_has_both_messages_and_their_bodies():
    feed = Feed()
    inspector(feed).take(*captured())
    ((kind, _, fields),) = records(feed)
    assert (kind, fields["status"], fields["omitted"], fields["steps"]) == (KIND, 200, 0, [])
    bodies = [fields["bodies"][fields[message]["body"]] for message in ("request", "response")]
    assert bodies == [
        {"data": b"x" * 10, "size": 10, "is_whole": True}, {"data": b"y" * 10, "size": 10, "is_whole": True},
    ]  # fmt: skip


def test_a_long_target_is_kept_as_it_is_so_that_a_copy_has_it():
    feed = Feed()
    sent = request("GET", f"/{'x' * 15_000}")
    capture = Capture(sent, Inspector.body_limit)
    sent.exchange.account = TimeAccount(sent.deadline, capture)
    capture.finish_response(Response(200))
    inspector(feed).take(capture, sent.conclude(200, 0.1, 0))
    assert records(feed)[0][2]["target"] == sent.received.target


def test_long_bodies_are_cut():
    feed = Feed()
    inspector(feed).take(*captured(100_000))
    fields = records(feed)[0][2]
    assert [(len(one["data"]), one["size"], one["is_whole"]) for one in fields["bodies"]] == [
        (65536, 100_000, False)
    ] * 2


def test_a_slow_monitor_costs_records_and_the_next_one_says_how_many():
    feed = Feed()
    part = inspector(feed)
    for _ in range(45):
        part.take(*captured())
    assert (feed.waiting, feed.dropped) == (40, 5)
    records(feed)
    part.take(*captured())
    part.take(*captured())
    assert [fields["omitted"] for _, _, fields in records(feed)] == [5, 0]


def test_long_records_are_sent_in_batches_that_the_monitor_can_read():
    feed = Feed()
    part = inspector(feed)
    for _ in range(40):
        part.take(*captured(60_000))
    batches = []
    while batch := records(feed):
        batches.append(sum(fields["size"] for _, _, fields in batch))
    assert sum(batches) > 40 * 120_000
    assert max(batches) <= 1024 * 1024


def test_without_a_monitor_nothing_is_captured():
    part = inspector(None)
    assert not part.wants(request())
    part.take(*captured())
    assert inspector(Feed()).wants(request())
