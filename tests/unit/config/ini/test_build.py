"""Any dataclass is built from its section, with all its problems at their lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gproxy.config.ini.build import Option, build, options
from gproxy.config.ini.parser import parse
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
