"""Problems say where, and what was probably meant."""

import pytest

from gproxy.config.problems import ConfigError, Problem, nearest, suggest


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("a.ini", 12, "route:users", "upstrem", "unknown"), "a.ini:12: [route:users] upstrem: unknown"),
        (Problem("a.ini", 12, "route:users", "", "twice"), "a.ini:12: [route:users] twice"),
        (Problem("a.ini", 12, "", "", "not UTF-8"), "a.ini:12: not UTF-8"),
        (Problem("command line", 0, "server", "bind", "bad"), "command line: [server] bind: bad"),
    ],
)
def test_problem_as_text(problem, expected):
    assert str(problem) == expected


def test_error_is_in_the_order_of_the_file():
    first, second, other = (Problem(*place, "", "", "m") for place in [("a", 2), ("a", 10), ("b", 1)])
    error = ConfigError([other, second, first])
    assert error.problems == (first, second, other)
    assert str(error) == "a:2: m\na:10: m\nb:1: m"


@pytest.mark.parametrize(
    ("word", "expected"), [("upstrem", "upstream"), ("roundrobin", "round_robin"), ("xyz", None), ("", None)]
)
def test_nearest(word, expected):
    assert nearest(word, {"upstream", "round_robin"}) == expected


def test_suggest_lists_all_when_nothing_is_near():
    assert suggest("xyz", {"b", "a"}) == "; known: a, b"
    assert suggest("xyz", []) == ""
    assert suggest("upstrem", ["upstream"]) == "; did you mean 'upstream'?"
