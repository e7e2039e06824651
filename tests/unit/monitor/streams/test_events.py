"""The stream of events: what a client gets, and which clients are dropped."""

import itertools

import gevent
import pytest

from gproxy.monitor.gathered.changes import Changes
from gproxy.monitor.streams import events
from gproxy.monitor.streams.events import EventStreams
from gproxy.monitor.views.model import difference


@pytest.fixture
def changes():
    return Changes()


@pytest.fixture
def streams(changes):
    return EventStreams(changes, difference)


def content(*rows):
    table = {"id": "a", "rows": [(key, list(cells)) for key, cells in rows], "count": len(rows)}
    return {"notes": [], "facts": [], "actions": [], "tables": [table]}


def take(stream, count):
    return [piece.decode() for piece in itertools.islice(stream, count)]


def test_a_client_gets_values_and_changes(streams, changes):
    streams.send_values({"requests": 1})
    stream = streams.stream(None, None, None)
    assert take(stream, 2) == ["retry: 2000\n\n", 'event: values\ndata: {"requests":1}\n\n']
    changes.add("reload", "generation 2 serves")
    (event,) = take(stream, 1)
    assert event.startswith("id: 1\nevent: change\ndata: {")
    assert '"text":"generation 2 serves"' in event
    stream.close()
    assert streams.count == 0


def test_a_client_that_comes_back_gets_the_changes_that_it_missed(streams, changes):
    for number in range(3):
        changes.add("action", f"the {number}")
    events = take(streams.stream(None, None, 1), 3)
    assert ["the 1" in events[1], "the 2" in events[2]] == [True, True]


def test_a_number_of_an_earlier_monitor_brings_no_changes(streams, changes):
    changes.add("action", "x")
    streams.send_values({})
    assert "values" in take(streams.stream(None, None, 900), 2)[1]


def test_clients_of_a_view_share_its_content_and_get_what_changed(streams, monkeypatch):
    monkeypatch.setattr(events, "_EVERY", 0.001)
    looks = []

    def look():
        looks.append(1)
        return content(("k", ["1", str(len(looks))]))

    first, second = streams.stream("a", look, None), streams.stream("a", look, None)
    assert '"rows":[["k",["1","1"]]]' in take(first, 2)[1]
    take(second, 1)
    assert take(first, 1) == ['event: rows\ndata: {"tables":[{"id":"a","rows":[["k",{"1":"2"}]],"count":1}]}\n\n']
    assert "event: " in take(second, 1)[0]
    first.close()
    second.close()
    count = len(looks)
    gevent.sleep(0.01)
    assert len(looks) == count, "nobody looks, and the view is made all the same"


def test_a_client_that_does_not_read_is_dropped(streams):
    stream = streams.stream(None, None, None)
    take(stream, 1)
    for number in range(events._MOST_WAITING + 1):
        streams.send_values({"n": number})
    pieces = list(itertools.islice(stream, 100))
    assert len(pieces) < 3
    assert streams.count == 0


def test_there_is_a_most_of_clients(streams, monkeypatch):
    monkeypatch.setattr(events, "MOST_CLIENTS", 1)
    stream = streams.stream(None, None, None)
    take(stream, 1)
    assert streams.stream(None, None, None) is None


def test_a_text_with_line_breaks_stays_one_event(streams):
    (data,) = [line for line in events.event("change", "a\n\ndata: b").decode().splitlines() if "data" in line]
    assert data == r'data: "a\n\ndata: b"'


def test_the_difference_has_only_changed_cells_new_rows_and_the_order():
    before = content(("a", ["1", "2"]), ("b", ["1"]))
    after = content(("b", ["1"]), ("a", ["1", "3"]), ("c", ["9"]))
    (table,) = difference(after, before)["tables"]
    assert table == {"id": "a", "rows": [("a", {1: "3"}), ("c", ["9"])], "count": 3, "keys": ["b", "a", "c"]}
    assert difference(before, content(("a", ["1", "2"]), ("b", ["1"]))) is None


def test_a_view_that_fails_goes_on_with_the_next_look(streams, monkeypatch, caplog):
    monkeypatch.setattr(events, "_EVERY", 0.001)
    looks = iter([KeyError("x"), KeyError("x"), content(("k", ["1"])), KeyError("x"), content(("k", ["2"]))])

    def look():
        found = next(looks, content(("k", ["2"])))
        if isinstance(found, Exception):
            raise found
        return found

    stream = streams.stream("a", look, None)
    assert '"rows":[["k",["1"]]]' in take(stream, 2)[1]
    assert '"rows":[["k",{"0":"2"}]]' in take(stream, 1)[0]
    stream.close()
    assert caplog.text.count("monitor: a view failed") == 2
