from dataclasses import dataclass, field, replace

import pytest

from gproxy.config.record import Record


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ours(Record):
    name: str
    count: int = 0
    secret: str = field(default="", repr=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Theirs:
    name: str
    count: int = 0
    secret: str = field(default="", repr=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Other(Record):
    name: str


CHANGES = [{}, {"name": "b"}, {"count": 1}, {"secret": "s"}, {"place": "p"}]


@pytest.mark.parametrize("change", CHANGES)
def test_the_methods_do_what_those_of_the_decorator_do(change):
    ours, theirs = replace(Ours("a"), **change), replace(Theirs("a"), **change)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert (ours == Ours("a")) == (theirs == Theirs("a"))
    assert (hash(ours) == hash(Ours("a"))) == (hash(theirs) == hash(Theirs("a")))
    assert hash(ours) == hash(theirs)


def test_classes_differ():
    assert Other("a") != Ours("a")
    assert Ours("a") != "a"


def test_what_cannot_be_hashed_says_so():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours(["a"]))


def test_an_instance_has_no_other_attributes():
    with pytest.raises(AttributeError):
        object.__setattr__(Ours("a"), "more", 1)
