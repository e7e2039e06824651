"""Problems that `gproxy check` reports for handlers in user code: before the first request, never as a traceback."""

import sys

import pytest

from gproxy.config import ConfigError
from gproxy.gateway.build import load

OWN = """
import functools
from dataclasses import dataclass
from gproxy import HTTPError

def fine(request, next):
    return next(request)

def injecting(function):
    @functools.wraps(function)
    def inner(request, next):
        return function(request, next, "more")
    return inner

@injecting
def decorated(request, next, more):
    return next(request)

partial = functools.partial(lambda more, request, next: next(request), "more")
anything = lambda *arguments, **options: arguments[1](arguments[0])

class Plain:
    def __init__(self, size=1):
        self.size = size
    def __call__(self, request, next):
        return next(request)

class Static:
    @staticmethod
    def __call__(request, next):
        return next(request)

class Outer:
    class Inner(Plain):
        pass

@dataclass
class Options:
    maxSize: int = 3
    def __call__(self, request, next):
        return next(request)

def one(request):
    return request

class One:
    def __call__(self, request):
        return request

async def later(request, next):
    return next(request)

class Later:
    async def __call__(self, request, next):
        return next(request)

def yields(request, next):
    yield bytes()

@dataclass
class Mute:
    size: int = 1

@dataclass
class Fails:
    size: int = 1
    def __post_init__(self):
        open("/nowhere/at/all")
    def __call__(self, request, next):
        return next(request)

class Leaves:
    def __init__(self):
        raise SystemExit("goodbye")

class Asks:
    def __init__(self):
        self.refusal = HTTPError(200)

class Opens:
    def open(self):
        pass
    async def close(self):
        pass
    def __call__(self, request, next):
        return next(request)

number = 5
"""
INI = """
[route:a]
handlers = own
upstream = u
[upstream:u]
backends = http://localhost:1
[handler:own]
use = {}
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Return the problems of a `use`, without file and line."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "users_own.py").write_text(OWN)
    (tmp_path / "users_own_exits.py").write_text("raise SystemExit(4)\n")
    monkeypatch.delitem(sys.modules, "users_own", raising=False)

    def check(use, *options):
        path = tmp_path / "gproxy.ini"
        path.write_text(INI.format(use) + "".join(f"{option}\n" for option in options))
        try:
            return load(path).handlers["own"].handler
        except ConfigError as error:
            return [str(problem.message).replace(str(tmp_path), "FOLDER") for problem in error.problems]

    return check


@pytest.mark.parametrize(
    "name", ["fine", "decorated", "partial", "anything", "Plain", "Static", "Outer.Inner", "Options"]
)
def test_valid_handlers(check, name):
    assert callable(check(f"users_own:{name}"))


def test_an_option_has_no_case(check):
    assert check("users_own:Options", "maxSize = 7").maxSize == 7


def test_open_and_close_are_called_with_their_arguments(check):
    assert check("users_own:Opens") == [
        "users_own:Opens.open cannot be called with (runtime)",
        "users_own:Opens.close is asynchronous; expected an ordinary function, which may block",
    ]


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        ("users_own:one", "users_own:one cannot be called with (request, next)"),
        ("users_own:One", "users_own:One cannot be called with (request, next)"),
        ("users_own:later", "users_own:later is asynchronous; expected an ordinary function, which may block"),
        ("users_own:Later", "users_own:Later is asynchronous; expected an ordinary function, which may block"),
        ("users_own:yields", "users_own:yields is a generator; expected a function that returns its result"),
        ("users_own:Mute", "users_own:Mute is not callable; expected a function, or a class with __call__(self, request, next)"),
        ("users_own:number", "users_own:number is not callable; expected a function, or a class with __call__(self, request, next)"),
        ("users_own:Fails", "cannot create Fails: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all' (FOLDER/users_own.py:68)"),
        ("users_own:Leaves", "cannot create Leaves: SystemExit: goodbye (FOLDER/users_own.py:74)"),
        ("users_own:Asks", "cannot create Asks: ValueError: HTTPError is for statuses from 400 to 599, not 200 (FOLDER/users_own.py:78)"),
        ("users_own:Outer.Iner", "users_own.Outer has no 'Iner'; did you mean 'Inner'?"),
        (
            "users_own.py:x",
            "cannot import users_own.py: ModuleNotFoundError: No module named 'users_own.py'; 'users_own' is not a package; write users_own, without .py",
        ),
        ("users_own_exits:x", "cannot import users_own_exits: SystemExit: 4 (FOLDER/users_own_exits.py:1)"),
    ],
)  # fmt: skip
def test_invalid_handlers(check, use, problem):
    assert check(use) == [problem]


@pytest.mark.parametrize("name", ["fine", "Plain"])
def test_options_for_a_handler_without_options(check, name):
    assert check(f"users_own:{name}", "size = 3") == [f"users_own:{name} is not a dataclass, so it has no options"]


def test_a_module_with_the_name_of_a_standard_module(check):
    """A queue.py beside the settings is shadowed by the standard module, which is imported already."""
    import queue

    assert check("queue:mine") == [f"queue ({queue.__file__}) has no 'mine'"]
