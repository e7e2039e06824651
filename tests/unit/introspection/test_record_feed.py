"""The records of the error log that a worker feeds: bounded in number and in length."""

import marshal

from gproxy.introspection.record_feed import MOST, RecordFeed
from gproxy.runtime.feed import Feed


def test_a_flood_is_cut_and_counted():
    feed, now = Feed(), [5.0]
    record = RecordFeed(feed, lambda: now[0])
    for _ in range(MOST + 7):
        record({"message": "again"})
    assert (len(feed.take(10_000)), feed.dropped) == (MOST, 7)
    now[0] = 6.0
    record({"message": "later"})
    assert [fields for _, _, fields in feed.take(10)] == [{"message": "later"}]


def test_long_texts_and_deep_stacks_are_cut_and_empty_fields_omitted():
    feed = Feed()
    stack = [f"frame {number}" for number in range(100)]
    RecordFeed(feed, lambda: 5.0)(
        {"message": "x" * 10_000, "route": "", "worker": 1, "handler": None, "exception": {"stack": stack, "cause": {}}}
    )
    ((kind, _, fields),) = feed.take(10)
    assert (kind, set(fields), len(fields["message"])) == ("log", {"message", "worker", "exception"}, 4096)
    assert fields["exception"]["stack"] == stack[-30:]
    assert marshal.loads(marshal.dumps(fields)) == fields
