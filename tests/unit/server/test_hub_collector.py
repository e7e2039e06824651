"""Which generation is collected when, and who asks whom."""

import gc
import threading

import gevent
import pytest

from gproxy.server import hub_collector
from gproxy.server.hub_collector import Generations, HubCollector


class Collections:
    """The collections in place of those of CPython, which has `count` new objects."""

    def __init__(self):
        self.count = 20_001
        self.done = []

    def collect(self, generation):
        self.done.append((generation, threading.get_ident()))
        self.count = 0


@pytest.fixture
def collections(monkeypatch):
    made = Collections()
    monkeypatch.setattr(gc, "collect", made.collect)
    monkeypatch.setattr(gc, "get_count", lambda: (made.count, 0, 0))
    return made


@pytest.fixture
def collector(collections):
    """A collector that was not started."""
    return HubCollector()


def test_the_oldest_generation_that_is_due_is_next():
    generations = Generations(lambda: 100)
    found = [generations.next() for _ in range(21 * 51)]
    assert (found.count(0), found.count(1), found.count(2)) == (20 * 51, 50, 1)
    assert (found.index(1), found.index(2)) == (20, 21 * 51 - 1)


@pytest.mark.parametrize(("old", "next_one"), [(125, 1), (126, 2)])
def test_all_are_collected_only_if_there_is_a_quarter_more(old, next_one):
    counts = iter([100, old])
    generations = Generations(lambda: next(counts))
    generations.note_full()
    assert [generations.next() for _ in range(21 * 51)][-1] == next_one


def test_after_a_full_collection_the_old_objects_are_counted(collector, collections):
    generations = collector._generations = Generations(iter([50, 1000]).__next__)
    for _ in range(21 * 51):
        collections.count = 20_001
        collector.collect()
    assert collections.done[-1][0] == 2
    assert generations._old == 1000


def test_nothing_is_collected_before_20000_objects(collector, collections):
    collections.count = 20_000
    collector.collect()
    assert collections.done == []


def test_the_hub_collects_for_a_thread_that_asks(collector, collections):
    greenlet = gevent.spawn(collector._run)
    asking = threading.Thread(target=lambda: [collector.ask(20_001), collector.ask(20_001)])
    asking.start()
    with gevent.Timeout(10):
        while not collections.done:
            gevent.sleep(0.001)
    greenlet.kill()
    assert collections.done == [(0, threading.get_ident())]


def test_a_thread_asks_for_nothing_while_nothing_is_due(collector):
    assert not collector.ask(20_000)
    assert not collector._is_asked


def test_a_main_thread_that_computes_is_interrupted(collector, collections):
    """Without a turn of the loop."""
    collections.count = 200_001
    assert collector.ask(200_001)
    for _ in range(1_000_000):
        if collections.done:
            break
    assert collections.done == [(0, threading.get_ident())]


def test_a_collector_that_user_code_has_switched_off_stays_off(monkeypatch, collector):
    monkeypatch.setattr(gc, "isenabled", lambda: False)
    monkeypatch.setattr(gevent, "spawn", None)
    collector.start()


def test_old_objects_are_those_of_the_collector():
    assert 0 < hub_collector._count_old() <= len(gc.get_objects())
