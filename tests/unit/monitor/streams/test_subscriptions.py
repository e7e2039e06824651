"""Clients that follow records: in order, bounded, with a count of what is missing."""

from itertools import islice

from gproxy.monitor.streams import subscriptions
from gproxy.monitor.streams.subscriptions import Subscriptions


def following(subscriptions_, *before):
    records = subscriptions_.follow(lambda: [{"n": number} for number in before])
    assert next(records) is None
    return records


def test_a_client_gets_what_was_before_and_what_comes():
    all_ = Subscriptions()
    records = following(all_, 1, 2)
    all_.put({"n": 3})
    assert list(islice(records, 3)) == [{"n": 1}, {"n": 2}, {"n": 3}]
    records.close()
    assert len(all_) == 0


def test_a_client_that_does_not_read_is_bounded_and_learns_what_it_misses(monkeypatch):
    monkeypatch.setattr(subscriptions, "_MOST", 2)
    all_ = Subscriptions()
    records = following(all_, 0)
    assert next(records) == {"n": 0}
    for number in range(1, 6):
        all_.put({"n": number})
    all_.omit(4)
    assert list(islice(records, 3)) == [{"omitted": 7}, {"n": 1}, {"n": 2}]
    all_.put({"n": 6})
    assert next(records) == {"n": 6}


def test_a_silent_log_gives_signs_of_life(monkeypatch):
    monkeypatch.setattr(subscriptions, "_SILENCE", 0.001)
    records = following(Subscriptions())
    assert list(islice(records, 2)) == [None, None]
