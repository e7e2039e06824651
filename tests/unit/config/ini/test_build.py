"""Any dataclass is built from its section, with all its problems at their lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pytest

from gproxy.config.ini.build import Option, build, changed, construct, doc, option, option_group, option_values, options
from gproxy.config.ini.parser import parse
from gproxy.config.problems import OptionErrors
from gproxy.config.types import Rate, Seconds, Secret

if TYPE_CHECKING:
    from nowhere import Store


@dataclass(frozen=True, slots=True)
class Limit:
    limit: Rate = field(metadata={"doc": "how many"})
    mode: Literal["soft", "hard"] = "hard"
    window: Seconds | None = field(default=None, metadata={"unit": "seconds"})
    names: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=lambda: {"a": "b"})
    from_: str = "x"
    key: Secret | None = None
    clock: Callable[[], float] = field(default=time.monotonic, metadata={"ini": False})
    _store: Store | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if "bad" in self.names:
            raise ValueError("names: 'bad' is bad\nall: in all, no\nmode: not now")


@dataclass(frozen=True)
class Child(Limit):
    size: int = 3


@dataclass
class Typing:
    store: Store


@dataclass
class Silent:
    def __post_init__(self) -> None:
        raise ValueError


@dataclass(frozen=True, slots=True)
class Fuse:
    enabled: bool = field(default=False, metadata=option("fuse", "whether there is one"))
    limit: int = field(default=3, metadata=doc("how much"))
    open: Seconds = field(default=Seconds(5))

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise OptionErrors([(("limit",), "is negative"), (("open", "limit"), "never")])
        if self.limit > 9:
            raise ValueError("limit: is large\nfuse: would melt")


@dataclass(frozen=True, slots=True)
class House:
    name: str = field(metadata={"ini": False})
    limit: int
    fuse: Fuse = option_group(Fuse, prefix="fuse_")
    lamp: bool = False

    def __post_init__(self) -> None:
        if self.fuse.limit > self.limit:
            raise OptionErrors([(("fuse_limit", "limit"), "is more than limit")])
        if self.fuse.enabled and not self.lamp:
            raise OptionErrors([(("lamp",), "is off")])


def attempt(cls, text, **fixed):
    """What is built from the options in `text`, which start at line 2, and the problems and warnings as text."""
    problems, warnings = [], []
    (section,) = parse(f"[handler:x]\n{text}", "f", {}, problems)
    built = build(cls, section.options, section, problems, warnings, **fixed)
    return built, [str(problem) for problem in problems], [str(warning) for warning in warnings]


def test_build():
    built, problems, _ = attempt(Limit, "limit = 5/s\nmode = soft\nnames = a, b\nfrom = y\nextra =")
    assert problems == []
    assert built == Limit(Rate(5, Seconds(1)), "soft", None, ("a", "b"), {}, "y")


def test_defaults_are_those_of_the_class():
    built, _, _ = attempt(Limit, "limit = 5/s")
    assert built == Limit(Rate(5, Seconds(1)))
    assert built.clock is time.monotonic


def test_inherited_fields():
    built, problems, _ = attempt(Child, "limit = 1/s\nsize = 4")
    assert (built.size, built.limit.limit, problems) == (4, 1, [])


def test_fixed_fields():
    built, problems, _ = attempt(Limit, "", limit=Rate(1, Seconds(1)), clock=max)
    assert (built.clock, problems) == (max, [])


def test_every_problem_at_its_line():
    built, problems, _ = attempt(Limit, "limt = 5/s\nmode = sft\nnames = a\nwindow =\n\n  3")
    assert built is None
    assert problems == [
        "f:2: [handler:x] limt: unknown option; did you mean 'limit'?",
        "f:1: [handler:x] limit: is missing; expected a rate such as 100/minute: how many",
        "f:3: [handler:x] mode: expected soft or hard; found 'sft'; did you mean 'soft'?",
        "f:7: [handler:x] window: expected a time such as 3s; found '3'; write 3s for seconds",
    ]


def test_fields_that_are_no_options():
    _, problems, _ = attempt(Limit, "limit = 1/s\nclock = x\n_store = x")
    assert [line.split(";")[0] for line in problems] == [
        "f:3: [handler:x] clock: unknown option",
        "f:4: [handler:x] _store: unknown option",
    ]


def test_the_class_itself_refuses():
    built, problems, _ = attempt(Limit, "limit = 1/s\nnames = bad")
    assert built is None
    assert problems == [
        "f:3: [handler:x] names: 'bad' is bad",
        "f:1: [handler:x] all: in all, no",
        "f:1: [handler:x] mode: not now",
    ]


def test_the_class_is_heard_though_another_option_is_wrong():
    built, problems, _ = attempt(Limit, "limit = 1/s\nmode = sft\nnames = bad")
    assert built is None
    assert problems[0].startswith("f:3: [handler:x] mode: expected soft or hard")
    assert problems[1] == "f:4: [handler:x] names: 'bad' is bad"
    assert [line for line in problems[1:] if "mode" in line] == []  # it was about the default, which nobody wrote


def test_refusal_without_a_word():
    _, problems, _ = attempt(Silent, "")
    assert problems == ["f:1: [handler:x] ValueError"]


def test_unset_variable_is_said_once():
    built, problems, _ = attempt(Limit, "limit = ${NOPE}")
    assert built is None
    assert len(problems) == 1


def test_type_that_only_a_type_checker_sees():
    _, problems, _ = attempt(Typing, "store = x")
    assert problems == [
        "f:2: [handler:x] store: the type of Typing.store is unknown at run time: name 'Store' is not defined"
    ]


def test_warning_at_its_line(tmp_path):
    path = tmp_path / "key"
    path.write_text("x")
    path.chmod(0o644)
    built, problems, warnings = attempt(Limit, f"limit = 1/s\nkey = file:{path}")
    assert (built.key.reveal(), problems) == ("x", [])
    assert warnings == [
        f"f:3: [handler:x] key: {path} is readable by users other than its owner (mode 0644); run chmod 600"
    ]


def test_options():
    assert options(Limit) == [
        Option("limit", "rate", None, "how many"),
        Option("mode", "soft or hard", "hard", ""),
        Option("window", "time or none (seconds)", "none", ""),
        Option("names", "list, each text", "", ""),
        Option("extra", "pairs such as name: value, name: value", "a: b", ""),
        Option("from", "text", "x", ""),
        Option("key", "secret or none", "none", ""),
    ]


# --- groups


def test_the_fields_of_a_group_are_options_of_the_section():
    built, problems, _ = attempt(House, "limit = 4\nfuse = yes\nfuse_open = 2s\nlamp = on", name="h")
    assert problems == []
    assert built == House("h", 4, Fuse(True, 3, Seconds(2)), True)
    assert built == construct(House, name="h", limit=4, fuse=True, fuse_open=Seconds(2), lamp=True)


def test_a_group_of_defaults():
    assert attempt(House, "limit = 4", name="h")[0] == House("h", 4, Fuse())


def test_the_options_of_a_group_have_its_place():
    assert options(House) == [
        Option("limit", "whole number", None, ""),
        Option("fuse", "yes or no", "no", "whether there is one"),
        Option("fuse_limit", "whole number", "3", "how much"),
        Option("fuse_open", "time", "5s", ""),
        Option("lamp", "yes or no", "no", ""),
    ]


def test_an_unknown_option_may_be_near_one_of_a_group():
    _, problems, _ = attempt(House, "limit = 4\nfuse_opne = 2s\nenabled = yes", name="h")
    assert problems == [
        "f:3: [handler:x] fuse_opne: unknown option; did you mean 'fuse_open'?",
        "f:4: [handler:x] enabled: unknown option; known: fuse, fuse_limit, fuse_open, lamp, limit",
    ]


def test_the_problems_of_a_group_at_the_lines_of_its_options():
    built, problems, _ = attempt(House, "limit = 4\nfuse_limit = -1\nfuse_open = 2s", name="h")
    assert built is None
    assert problems == ["f:3: [handler:x] fuse_limit: is negative", "f:4: [handler:x] fuse_open: never"]


def test_a_group_may_raise_lines():
    _, problems, _ = attempt(House, "limit = 40\nfuse_limit = 10\nfuse = no", name="h")
    assert problems == ["f:3: [handler:x] fuse_limit: is large", "f:4: [handler:x] fuse: would melt"]


def test_the_owner_checks_a_group_that_has_problems():
    """The owner sees the values that the file gives, also those that the group rejects."""
    _, problems, _ = attempt(House, "limit = 4\nfuse_limit = 10", name="h")
    assert problems == [
        "f:3: [handler:x] fuse_limit: is large",
        "f:1: [handler:x] fuse: would melt",
        "f:3: [handler:x] fuse_limit: is more than limit",
    ]


def test_an_invalid_value_has_one_problem():
    _, problems, _ = attempt(House, "limit = 4\nfuse_limit = -1\nfuse_open = soon", name="h")
    assert problems == [
        "f:4: [handler:x] fuse_open: expected a time such as 3s; found 'soon'",
        "f:3: [handler:x] fuse_limit: is negative",
    ]


def test_construct_raises_all_problems_with_names_of_options():
    with pytest.raises(OptionErrors) as error:
        construct(House, name="h", limit=4, fuse_limit=10)
    assert str(error.value) == "fuse_limit: is large\nfuse: would melt\nfuse_limit, limit: is more than limit"


def test_values_of_options():
    house = House("h", 4, Fuse(open=Seconds(2)))
    assert option_values(house) == {"limit": 4, "fuse": False, "fuse_limit": 3, "fuse_open": 2, "lamp": False}
    assert changed(house) == ["limit", "fuse_open"]


def test_problems_with_names_of_fields():
    """A field is named as in Python, its option as in the file."""

    @dataclass
    class From:
        from_: str = "x"
        maxAge: int = 0

        def __post_init__(self):
            raise ValueError("from_: is odd\nfrom: is odd\nmaxAge: is odd")

    _, problems, _ = attempt(From, "from = a\nmaxage = 3")
    assert problems == [
        "f:2: [handler:x] from: is odd",
        "f:2: [handler:x] from: is odd",
        "f:3: [handler:x] maxage: is odd",
    ]
