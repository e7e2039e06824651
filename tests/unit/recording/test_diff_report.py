"""The report of a replay: groups with their first example, times, what was not compared, and what fails."""

import json

import pytest

from gproxy.recording.diff import Comparison, Difference
from gproxy.recording.diff_report import DiffReport, FailOn, Replayed

STATUS = Difference("status", "200", "404")


def replayed(number, *differences, route="users", **options):
    comparison = Comparison(list(differences), options.pop("hidden", 0), options.pop("body_skipped", ""))
    return Replayed(number, f"GET /users/{number}", route, comparison, **options)


def report(*found, recorded=10):
    made = DiffReport(recorded)
    for one in found:
        made.add(one)
    return made


def test_differences_are_grouped_by_route_and_kind_with_the_first_example():
    other = Difference("body $.a", "1", "2")
    made = report(replayed(1, STATUS), replayed(2, STATUS, other, other), replayed(3, STATUS, route="a"), replayed(4))
    rows = json.loads(made.as_json())["differences"]
    assert [(row["route"], row["kind"], row["count"], row["example"]["exchange"]) for row in rows] == [
        ("a", "status", 1, 3),
        ("users", "body $.a", 1, 2),
        ("users", "status", 2, 1),
    ]
    text = made.as_text()
    assert "route users\n  body $.a: 1 exchange\n    first: exchange 2, GET /users/2\n    - 1\n    + 2\n" in text
    assert text.startswith("4 of 10 exchanges replayed\n")
    assert text.endswith("\n3 exchanges of 4 with differences")


def test_no_response_commands_the_terminal():
    made = report(replayed(1, Difference("body text", "a\tä", "\x1b[2J\x9b2J\r")))
    assert "    - a\tä\n    + \\x1b[2J\\x9b2J\\x0d\n" in made.as_text()


def test_times_are_percentiles_before_and_after():
    made = report(*(replayed(n, before=n / 1000, after=n / 500) for n in range(1, 101)))
    assert made.times() == {
        "before": {"p50": 0.05, "p95": 0.095, "p99": 0.099},
        "after": {"p50": 0.1, "p95": 0.19, "p99": 0.198},
    }
    assert "before      50.00 ms" in made.as_text()
    assert report(replayed(1)).times() == {}


def test_what_was_not_compared_is_said():
    made = report(replayed(1, hidden=2), replayed(2, body_skipped="not recorded"))
    made.skipped["with a method that is not safe"] += 3
    made.notes.append("a note")
    text = made.as_text()
    assert "  not sent: 3 with a method that is not safe" in text
    assert "note: 2 values not compared" in text
    assert "note: 1 body not compared: not recorded" in text
    assert "note: a note" in text
    assert text.endswith("no difference")


@pytest.mark.parametrize(
    ("fail_on", "differences", "fails"),
    [
        ("diff", [], False),
        ("diff", [Difference("header A", "1", "2")], True),
        ("status", [Difference("header A", "1", "2")], False),
        ("status", [STATUS], True),
        ("status", [Difference("no response", "200", "refused")], True),
        ("slower:20%", [STATUS], False),
        ("slower:10%", [STATUS], True),
        ("status,slower:10%", [], True),
    ],
)
def test_what_fails_is_chosen(fail_on, differences, fails):
    made = report(replayed(1, *differences, before=1.0, after=1.15))
    assert made.fails(FailOn.parse(fail_on)) is fails


@pytest.mark.parametrize("text", ["", "all", "slower", "slower:", "slower:fast", "diff,"])
def test_what_is_no_reason_to_fail_is_rejected(text):
    with pytest.raises(ValueError, match="expected"):
        FailOn.parse(text)
