"""Problems of `[server] selftest` that `gproxy check` reports, together with all others."""

import sys

import pytest

from gproxy.config import ConfigError
from gproxy.gateway.build import load

CODE = """
def fine(ask):
    pass

def greedy(ask, more):
    pass

async def late(ask):
    pass

number = 1
"""
SETTINGS = """
[server]
selftest =
    {}
[route:a]
path = /
respond = 204
"""


@pytest.fixture
def problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checking.py").write_text(CODE)

    def found(line, more=""):
        (tmp_path / "g.ini").write_text(SETTINGS.format(line) + more)
        sys.modules.pop("checking", None)
        try:
            load("g.ini")
        except ConfigError as error:
            return list(map(str, error.problems))
        return []

    return found


@pytest.mark.parametrize(
    "line", ["GET / 200", "OPTIONS /a 2xx, 404", "GET http://a.example:80/b?c=d 200", "checking:fine"]
)
def test_fine(problems, line):
    assert problems(line) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("checking:fin", "checking has no 'fin'; did you mean 'fine'?"),
        ("nowhere_at_all:fine", "cannot import nowhere_at_all: ModuleNotFoundError"),
        ("checking:number", "checking:number is not callable; expected a function of (ask)"),
        ("checking:greedy", "checking:greedy cannot be called with (ask)"),
        ("checking:late", "checking:late is asynchronous; expected an ordinary function, which may block"),
        ("GET http://a..[/ 200", "GET http://a..[/: the request target is neither a path nor an http URL"),
    ],
)
def test_a_problem_has_its_line_in_the_settings(problems, line, message):
    (problem,) = problems(line)
    assert problem.startswith(f"g.ini:4: [server] selftest: {message}")


def test_a_problem_comes_with_all_others(problems):
    first, second = problems("checking:number", more="[route:b]\npath = /b\nrespond = 99\n")
    assert "selftest" in first
    assert "respond" in second


def test_each_of_several_lines_has_its_problem(problems):
    first, second, third = sorted(problems("GET / 2000\n    checking:fin\n    checking:number"))
    assert "g.ini:4: " in first
    assert "'2000' is no status" in first
    assert "g.ini:5: [server] selftest: checking has no 'fin'" in second
    assert "g.ini:6: [server] selftest: checking:number is not callable" in third


def test_what_the_settings_report_is_reported_once(problems):
    (problem,) = problems("GET / 2000")
    assert "'2000' is no status" in problem
