"""Which request a rule waits for, and at which line."""

import dataclasses
import importlib

import pytest

from gproxy.debugger.rule import Place, Wanted
from gproxy.testing import request

ONE = request("GET", "/users/1", {"X-Debug": "1"})


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({}, True),
        ({"path": "/users/*"}, True),
        ({"path": "/users"}, False),
        ({"path": "*1"}, True),
        ({"path": "/users/."}, False),
        ({"method": "get"}, True),
        ({"method": "POST"}, False),
        ({"header": "X-Debug: 1"}, True),
        ({"header": "x-debug:1"}, True),
        ({"header": "X-Debug"}, True),
        ({"header": "X-Debug: 2"}, False),
        ({"header": "X-Other"}, False),
        ({"path": "/users/*", "header": "X-Other"}, False),
        ({"client": "203.0.113.0/24"}, False),
        ({"client": "::ffff:203.0.113.0/120"}, False),
        ({"client": "::ffff:192.0.2.0/120"}, True),
    ],
)
def test_a_request_matches_if_all_conditions_hold(conditions, matches):
    assert Wanted(hold=1.0, **conditions).matches(ONE) is matches


def test_a_client_without_an_address_is_in_no_network():
    wanted = Wanted(hold=1.0, client="0.0.0.0/0")
    one = request()
    one.client = "192.0.2.1"
    assert wanted.matches(one)
    one.client = "unix"
    assert not wanted.matches(one)
    with pytest.raises(ValueError, match="client: 'x' is no address and no network"):
        Wanted(hold=1.0, client="x")


def test_a_user_is_judged_when_it_is_known():
    one, wanted = request(), Wanted(hold=1.0, user="alice")
    assert wanted.matches(one)
    assert not wanted.is_user(one)
    one.user = "alice"
    assert wanted.is_user(one)
    assert dataclasses.replace(wanted, user="").is_user(one)


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "place_of_test.py"
    path.write_text("# a comment\n\ndef one():\n    value = 1\n    return value\n\n\ndef two():\n    return 2\n")
    return path


def test_a_line_is_found_in_the_function_that_has_it(module, monkeypatch):
    monkeypatch.syspath_prepend(str(module.parent))
    place_of_test = importlib.import_module("place_of_test")
    place = Place.of("place_of_test.py:5")
    assert (place.file, place.line) == (str(module), 5)
    assert place.is_in(place_of_test.one.__code__)
    assert not place.is_in(place_of_test.two.__code__)
    assert Place.of(f"{module}:5") == place


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("place_of_test.py", "at: 'place_of_test.py' is no place; expected one such as handlers.py:12"),
        ("nowhere.py:12", "at: no module has the file nowhere.py"),
    ],
)
def test_a_wrong_place_is_an_error(text, reason):
    with pytest.raises(ValueError, match=reason):
        Place.of(text)


def test_a_line_without_code_names_the_nearest_one(module):
    with pytest.raises(ValueError, match=r"there is no code in .*:1; the nearest is in line 3"):
        Place.of(f"{module}:1")
