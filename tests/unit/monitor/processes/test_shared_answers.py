"""Answers of workers that all views of one second share."""

import pytest

from gproxy.monitor.processes import worker_lines
from gproxy.monitor.processes.worker_lines import WorkerLines


class CountedLines(WorkerLines):
    """Lines without workers that note each question."""

    def __init__(self):
        super().__init__(lambda *_: None)
        self.asked = []

    def ask(self, question, arguments=None):
        self.asked.append(question)
        return super().ask(question, arguments)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(worker_lines, "monotonic", lambda: now[0])
    return now


def test_views_of_one_second_ask_once(clock):
    lines = CountedLines()
    for _ in range(3):
        lines.ask_shared("upstreams")
    assert lines.asked == ["upstreams"]
    clock[0] += 1.0
    lines.ask_shared("upstreams")
    assert lines.asked == ["upstreams"] * 2


def test_questions_do_not_share_with_each_other(clock):
    lines = CountedLines()
    lines.ask_shared("upstreams")
    lines.ask_shared("status")
    assert lines.asked == ["upstreams", "status"]


def test_a_view_shows_a_change_by_an_operator_at_once(clock):
    lines = CountedLines()
    lines.ask_shared("upstreams")
    lines.ask("override", {})
    lines.ask_shared("upstreams")
    assert lines.asked == ["upstreams", "override", "upstreams"]
