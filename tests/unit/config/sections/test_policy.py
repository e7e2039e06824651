"""Options of balancing policies: who has them, and the problems of those that the policy does not have."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from gproxy.config.ini.build import doc, option
from gproxy.config.ini.parser import parse
from gproxy.config.problems import OptionErrors
from gproxy.config.sections.policy import PolicySettings, policy_options
from gproxy.config.types import Seconds


@dataclass
class Fast:
    decay: Seconds = field(default=Seconds(10), metadata=option("fast_decay", "a time"))

    def __post_init__(self):
        if self.decay <= 0:
            raise OptionErrors([(("decay",), "must be more than 0")])


@dataclass
class Keyed:
    key: str | None = field(default=None, metadata=option("keyed_by", "a key"))


class Turn:
    pass


TABLE = {"round_robin": Turn, "turn": Turn, "fast": Fast, "keyed": Keyed, "locked": Keyed}


@dataclass
class Own:
    """A policy of a user."""

    window: Seconds = field(default=Seconds(5), metadata=doc("a window"))
    limit: int = 3

    def __post_init__(self):
        if self.limit > 9:
            raise ValueError("limit: is large\nbalance_window: is too short for that")


@dataclass
class Prefixed(Own):
    prefix: ClassVar[str] = "mine_"


@dataclass
class WithPrefix:
    prefix: str = "x"


def attempt(text, kind=None):
    problems, warnings = [], []
    (section,) = parse(f"[upstream:x]\n{text}", "f", {}, problems)
    settings = PolicySettings.of(section, TABLE)
    built = settings.build(kind or settings.built_in, problems, warnings)
    return built, [str(problem).removeprefix("f:") for problem in problems]


def test_the_options_of_a_built_in_policy():
    assert attempt("balance = fast\nfast_decay = 2s\nretries = 5") == (Fast(Seconds(2)), [])
    assert attempt("balance = fast") == (Fast(), [])


def test_without_balance_it_is_round_robin():
    built, problems = attempt("")
    assert (type(built), problems) == (Turn, [])


def test_sticky_has_the_options_of_its_fallback():
    assert attempt("balance = sticky\nsticky_fallback = fast\nfast_decay = 2s") == (Fast(Seconds(2)), [])
    built, problems = attempt("balance = sticky\nsticky_fallback = fast\nkeyed_by = a")
    assert built is None
    assert problems == ["4: [upstream:x] keyed_by: is for balance = keyed or locked, and not for sticky"]


def test_the_class_reports_its_problems_at_their_lines():
    assert attempt("balance = fast\nfast_decay = 0s") == (
        None,
        ["3: [upstream:x] fast_decay: must be more than 0"],
    )


def test_an_option_of_another_policy():
    assert attempt("balance = turn\nfast_decay = 2s") == (
        None,
        ["3: [upstream:x] fast_decay: is for balance = fast, and not for turn"],
    )


def test_the_default_of_another_policy_does_no_harm():
    assert attempt("balance = turn\nfast_decay = 10s\nkeyed_by = none")[1] == []


def test_an_invalid_value_for_another_policy():
    _, problems = attempt("balance = turn\nfast_decay = soon")
    assert problems == ["3: [upstream:x] fast_decay: expected a time such as 3s; found 'soon'"]


def test_an_unknown_policy_is_one_problem_which_the_option_balance_reports():
    assert attempt("balance = tunr\nfast_decay = 2s") == (None, [])
    built, problems = attempt("balance = ${NOPE}\nfast_decay = 2s")
    assert built is None
    assert len(problems) == 1


def test_a_broken_option_has_one_problem():
    _, problems = attempt("balance = turn\nfast_decay = ${NOPE}")
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("balance", "line", "meant"),
    [
        ("fast", "fast_dekay = 2s", "fast_decay"),
        ("turn", "keyed_bi = a", "keyed_by"),
        ("turn", "retires = 2", "retries"),
    ],
)
def test_an_unknown_option_may_be_near_one_of_the_upstream_or_of_any_policy(balance, line, meant):
    built, problems = attempt(f"balance = {balance}\n{line}")
    assert built is None
    assert problems == [f"3: [upstream:x] {line.split()[0]}: unknown option; did you mean '{meant}'?"]


def test_the_options_of_a_users_policy():
    assert attempt("balance = m:Own\nbalance_window = 2s", Own) == (Own(Seconds(2)), [])
    assert attempt("balance = m:P\nmine_window = 2s\nmine_limit = 1", Prefixed) == (Prefixed(Seconds(2), 1), [])
    assert attempt("balance = m:W\nbalance_prefix = y", WithPrefix) == (WithPrefix("y"), [])


def test_the_problems_of_a_users_policy():
    assert attempt("balance = m:Own\nbalance_window = soon", Own)[1] == [
        "3: [upstream:x] balance_window: expected a time such as 3s; found 'soon'"
    ]
    assert attempt("balance = m:Own\nbalance_windwo = 3s", Own)[1] == [
        "3: [upstream:x] balance_windwo: unknown option; did you mean 'balance_window'?"
    ]
    assert attempt("balance = m:Own\nbalance_window = 1s\nbalance_limit = 10", Own)[1] == [
        "4: [upstream:x] balance_limit: is large",
        "3: [upstream:x] balance_window: is too short for that",
    ]
    assert attempt("balance = m:Own\nfast_decay = 1s", Own)[1] == [
        "3: [upstream:x] fast_decay: is for balance = fast, and not for m:Own"
    ]


def test_a_users_policy_must_not_hide_an_option_of_the_upstream():
    @dataclass
    class Greedy:
        prefix: ClassVar[str] = ""
        retries: int = 1

    assert attempt("balance = m:Greedy", Greedy) == (
        None,
        ["2: [upstream:x] balance: m:Greedy has the option retries, which every upstream has; give it another prefix"],
    )


def test_a_function_has_no_options():
    def pick(backends, request): ...

    assert attempt("balance = m:pick", pick) == (pick, [])
    assert attempt("balance = m:pick\nbalance_window = 3s\nqeue = 3", pick) == (
        None,
        [
            "3: [upstream:x] balance_window: m:pick is not a dataclass, so it has no options",
            "4: [upstream:x] qeue: unknown option; did you mean 'queue'?",
        ],
    )


def test_the_options_of_all_policies_by_name():
    assert [(one.name, one.default_text, one.doc) for one in policy_options(TABLE)] == [
        ("fast_decay", "10s", "a time"),
        ("keyed_by", "none", "a key"),
    ]
