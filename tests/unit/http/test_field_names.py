"""The table of names: what it remembers, and that clients cannot fill it."""

import pytest

from gproxy.http.field_names import FieldNames


@pytest.fixture
def judged():
    return []


@pytest.fixture
def names(judged):
    return FieldNames(lambda name, plain: judged.append((name, plain)) or len(judged))


def test_each_spelling_is_judged_once(names, judged):
    first = names.learn("X-A")
    assert (first.key, first.uses) == ("x-a", 1)
    assert names.learn("X-A") is first is names.known["X-A"]
    assert names.learn("x-a").uses == 2
    assert names.learn("x_.B").uses == 3
    assert judged == [("x-a", "x-a"), ("x-a", "x-a"), ("x_.b", "x--b")]


@pytest.mark.parametrize("text", ["", " ", "X A", "X:A", "X\r", "é", "(", " X-A", "X-A "])
def test_what_is_no_token_is_no_name(names, judged, text):
    assert names.learn(text) is None
    assert (judged, names.known) == ([], {})


def test_a_long_name_is_not_kept(names):
    assert names.learn("x" * 65).key == "x" * 65
    assert names.learn("y" * 64).key == "y" * 64
    assert list(names.known) == ["y" * 64]


def test_new_names_without_end_take_no_memory_without_end(names):
    for number in range(100_000):
        names.learn(f"x-{number}")
    assert len(names.known) <= 1024
