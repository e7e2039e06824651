"""The cells of the page, its graphs and its first answer: what people read, and that all texts are escaped."""

import pytest

from gproxy.monitor.gathered.changes import Blocks, Changes
from gproxy.monitor.page.first_page import page
from gproxy.monitor.page.plot import plot
from gproxy.monitor.processes.worker_lines import WorkerRef
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Table, View, graph, unique

EVIL = "<script>alert('1')</script>\"&"


def text_of(cell):
    return cell if isinstance(cell, str) else cell["t"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (cells.duration(None), cells.NONE),
        (cells.duration(0.000_85), "850 µs"),
        (cells.duration(0.0123), "12.3 ms"),
        (cells.duration(0.25), "250 ms"),
        (cells.duration(1.254), "1.25 s"),
        (cells.duration(600), "10 min"),
        (cells.rate(0), "0"),
        (cells.rate(0.333), "0.33"),
        (cells.rate(12345.6), "12\u202f346"),
        (cells.share(0.0004), "< 0.1 %"),
        (cells.share(0.034), "3.4 %"),
        (cells.size(999), "999 B"),
        (cells.size(1_500), "1.5 kB"),
        (cells.size(47_000_000), "47 MB"),
        (cells.age(90), "90 s"),
        (cells.age(7200), "2 h"),
        (cells.state("half_open", "3 failures"), "half-open: 3 failures"),
        (cells.text("x" * 8000), "x" * 300 + "…"),
        (cells.clock(1_764_410_531.0), "10:02:11 UTC"),
    ],
)
def test_values_are_written_as_people_read_them(cell, text):
    assert text_of(cell) == text


def test_errors_have_a_state_by_their_share():
    assert "state" not in cells.errors(0, 100)
    assert cells.errors(1, 100)["state"] == "warn"
    assert cells.errors(5, 100)["state"] == "bad"
    assert cells.errors(0, 0) == cells.NONE


def shown(view, figures=None):
    content = {"view": "routes", "title": EVIL, **view.describe()}
    texts = dict.fromkeys(("title", "theme", "config", "socket"), EVIL)
    values = {**texts, "version": "1", "time": "now", "acts": "yes"}
    return page(content, values, {"routes": "Routes", "x": EVIL}, figures or {})


def test_all_texts_of_the_first_answer_are_escaped():
    state = {"t": EVIL, "state": "bad"}
    row = (EVIL, state, {"t": EVIL, "code": True}, cells.bar([(EVIL, 1.0)], 1.0), {"t": EVIL, "more": EVIL})
    columns = [(EVIL, "text")] * len(row)
    table = Table("t", EVIL, columns, [(EVIL, row)], EVIL, (EVIL,))
    figures = {
        "interval": 1.0, "since": 0.0, "until": 60.0, "times": [1.0], "series": {"a": [1.0]},
        "marks": [{"when": 1.0, "kind": "reload", "text": EVIL}],
    }  # fmt: skip
    graphs = (graph("g", EVIL, "rate", a=EVIL),)
    text = shown(View([("bad", EVIL)], [(EVIL, EVIL)], graphs, (), [table]), figures)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert") > 10
    assert "data-theme" not in text


def test_an_empty_table_has_a_sentence():
    text = shown(View(tables=[Table("t", "Things", [("A", "text")], [], "None yet.")]))
    assert '<p class="empty">None yet.</p>' in text
    assert '<table role="table" hidden>' in text


def test_a_gap_breaks_the_line_of_a_graph():
    figures = {
        "interval": 1.0, "since": 0.0, "until": 100.0, "times": [0.0, 1.0, 2.0, 3.0, 50.0],
        "series": {"a": [10.0, 5.0, None, 0.0, 10.0]}, "marks": [],
    }  # fmt: skip
    text = plot(graph("g", "G", "rate", a="a"), figures)
    assert '<path class="k0" d="M0.0 0.0L9.0 50.0M27.0 100.0M450.0 0.0"/>' in text


def test_rows_with_the_same_key_are_told_apart():
    assert [key for key, _ in unique([("a", ()), ("b", ()), ("a", ())])] == ["a", "b", "a#2"]


def test_a_block_is_listed_and_is_a_change():
    changes = Changes(lambda: 5.0)
    blocks = Blocks(changes)
    blocks.take(WorkerRef(1, 2, 99), 4.0, {"seconds": 0.3124, "place": "handlers.py:41", "handler": "tenant"})
    blocks.take(WorkerRef(1, 1, 98), 5.0, {"seconds": 1.0})
    assert [one["worker"] for one in blocks] == [1, 2]
    assert [one.text for one in changes.since()] == [
        "handler tenant blocked worker 2 for 312 ms at handlers.py:41",
        "code outside of handlers blocked worker 1 for 1000 ms",
    ]
