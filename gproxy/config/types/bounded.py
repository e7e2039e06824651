r"""Regular expressions for texts of clients, which are matched within a bound on work.

Python's `re` backtracks, without a limit of time, and clients choose the texts. So a pattern may have a choice only
where the next character decides it: to repeat once more or not, to take this alternative or that one. Then the work is
in proportion to the length of the text. Three exceptions are possible outside of repetitions: one unlimited repetition
with a short rest, as in `.*\.json`, few choices of a limited number, and what comes before a rest that matches every
text, as in `\w+.*`: such a rest never leads back to a choice.
"""

import re
from collections.abc import Iterable
from re import _constants as sre  # type: ignore[attr-defined]  # no public module has the parser of `re`
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, NamedTuple

#: The most steps for each character of a text, as an estimate.
_MAX_STEPS: Final = 128
#: The length of a text without a limit.
_UNLIMITED: Final = 1_000_000
#: The end of a text, as one more character after the 256 of Latin-1. A set of characters has a bit for each.
_END: Final = 1 << 256

#: The parser makes a pair of each item: its kind, and what the kind needs.
_Operator = Any
_Argument = Any

_CLASSES: Final = {
    sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
_REPETITIONS: Final = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
#: What matches at the end of a text.
_ENDS: Final = (sre.AT_END, sre.AT_END_STRING)
_FLAGS: Final = re.DOTALL | re.ASCII


class _Part(NamedTuple):
    """A part of an expression and all that follows it: the characters that may come first, and the greatest length."""

    first: int
    length: int
    #: True if it matches every text, as `.*` does, and `/?.*`.
    is_universal: bool = False


#: The end of an expression.
_NOTHING: Final = _Part(_END, 0)


class Bounded(NamedTuple):
    """An expression that is matched within a bound on work."""

    expression: re.Pattern[str]
    #: The characters that a match may begin with; one bit for each.
    first: int
    #: True if a `.` stands for a single character, as one that was meant as a dot.
    has_dot: bool

    def may_begin_with(self, characters: str) -> bool:
        """Return whether a match may begin with one of the characters."""
        return any(self.first >> ord(sign) & 1 for sign in characters)


def bounded(text: str) -> Bounded:
    """Compile an expression. Raise ValueError if it is invalid, or if its match may take too long.

    `.` matches every character, line breaks too: otherwise `%0A` in a path would lead around a route.
    """
    if not text.isascii():
        raise ValueError("a pattern has only ASCII characters; '.' and '[^/]' match the others too")
    try:
        expression = re.compile(text, _FLAGS)
        tree = parser.parse(text, _FLAGS)
        check = _Check(ignores_case=bool(expression.flags & re.IGNORECASE))
        whole = check.sequence(tree, _NOTHING, is_repeated=False)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the regular expression does not compile: {error}") from None
    check.raise_if_costly()
    return Bounded(expression, whole.first, check.has_dot)


class _Check:
    """The check of one expression, from its end to its beginning, with the estimate of its work."""

    def __init__(self, *, ignores_case: bool) -> None:
        self._ignores_case = ignores_case
        #: The combinations of the choices that the next character does not decide.
        self._ways = 1
        #: The length of the rest after an unlimited repetition that the next character does not end.
        self._rest = 1
        #: True once a `.` was found outside of repetitions.
        self.has_dot = False

    def raise_if_costly(self) -> None:
        """Raise ValueError if a text could take too many steps."""
        if self._ways * self._rest > _MAX_STEPS:
            raise ValueError(
                "the pattern has too many choices for a match in bounded time; write alternatives and optional parts "
                "that begin with other characters than what follows them"
            )

    def sequence(self, items: Iterable[Any], rest: _Part, *, is_repeated: bool) -> _Part:
        """Check the items before `rest`. In a repetition each choice must be decided by the next character."""
        for operator, argument in reversed(list(items)):
            rest = self._item(operator, argument, rest, is_repeated=is_repeated)
        return rest

    def _item(self, operator: _Operator, argument: _Argument, rest: _Part, *, is_repeated: bool) -> _Part:
        if operator in _REPETITIONS:
            return self._repetition(operator, argument, rest, is_repeated=is_repeated)
        if operator is sre.BRANCH:
            return self._branch(argument[1], rest, is_repeated=is_repeated)
        if (group := _group(operator, argument)) is not None:
            return self.sequence(group, rest, is_repeated=is_repeated)
        if operator is sre.AT:
            is_end = argument in _ENDS and rest == _NOTHING
            return rest if is_end else _Part(rest.first, min(rest.length + 1, _UNLIMITED))
        self.has_dot |= operator is sre.ANY and not is_repeated
        return _Part(self._characters(operator, argument), min(rest.length + 1, _UNLIMITED))

    def _branch(self, alternatives: Iterable[Any], rest: _Part, *, is_repeated: bool) -> _Part:
        parts = [self.sequence(one, rest, is_repeated=is_repeated) for one in alternatives]
        first = 0
        for part in parts:
            first |= part.first
        self._choose(max(sum(part.first >> sign & 1 for part in parts) for sign in range(257)), is_repeated=is_repeated)
        return _Part(first, max(part.length for part in parts))

    def _repetition(self, operator: _Operator, argument: _Argument, rest: _Part, *, is_repeated: bool) -> _Part:
        least, most, body = argument
        first = self._first(body, rest.first)
        has_choice = least != most and operator is not sre.POSSESSIVE_REPEAT and not rest.is_universal
        if has_choice and first & rest.first:
            if most is sre.MAXREPEAT and not is_repeated:
                self._leave_open(rest)
            else:
                self._choose(most - least + 1, is_repeated=is_repeated)
        after = rest if most == 1 else _Part(rest.first | first, rest.length)
        found = self.sequence(body, after, is_repeated=is_repeated or most != 1)
        times = _UNLIMITED if most is sre.MAXREPEAT else most
        length = min(rest.length + (found.length - rest.length) * times, _UNLIMITED)
        is_universal = not least and (rest.is_universal or _matches_all(most, body, rest))
        return _Part(found.first | (0 if least else rest.first), length, is_universal)

    def _leave_open(self, rest: _Part) -> None:
        """Note an unlimited repetition that the next character does not end: the rest is tried at every place."""
        if rest.length >= _UNLIMITED:
            raise ValueError(
                "a repetition that is followed by another one must end at a character that it cannot match, so that "
                "the work is bounded; write [^/]* in place of .*"
            )
        self._rest = max(self._rest, rest.length)

    def _choose(self, ways: int, *, is_repeated: bool) -> None:
        """Note a choice between so many ways that begin with the same character."""
        if ways > 1 and is_repeated:
            raise ValueError(
                "within a repetition the next character must decide how to go on, so that the work is bounded; "
                "nested repetitions such as (a+)+ and alternatives such as (a|ab)* are not allowed"
            )
        self._ways *= max(ways, 1)

    def _first(self, items: Iterable[Any], rest: int) -> int:
        """Return the characters that may come first in the items before `rest`, without checking them."""
        for operator, argument in reversed(list(items)):
            if operator in _REPETITIONS:
                rest = self._first(argument[2], rest) | (0 if argument[0] else rest)
            elif operator is sre.BRANCH:
                firsts, before = [self._first(one, rest) for one in argument[1]], 0
                for first in firsts:
                    before |= first
                rest = before
            elif (group := _group(operator, argument)) is not None:
                rest = self._first(group, rest)
            elif operator is not sre.AT:
                rest = self._characters(operator, argument)
        return rest

    def _characters(self, operator: _Operator, argument: _Argument) -> int:
        """Return the set of characters that one item matches."""
        found = sum(1 << sign for sign in range(256) if _matches(operator, argument, sign))
        if self._ignores_case:
            for sign in range(ord("A"), ord("Z") + 1):
                both = 1 << sign | 1 << sign + 32
                found |= both if found & both else 0
        return found


def _matches_all(most: _Argument, body: Iterable[Any], rest: _Part) -> bool:
    """Return whether the repetition is `.*` at the end of the expression."""
    return most is sre.MAXREPEAT and rest == _NOTHING and [operator for operator, _ in body] == [sre.ANY]


def _group(operator: _Operator, argument: _Argument) -> Iterable[Any] | None:
    """Return the items of a group; None for anything else. Raise ValueError for a group that is not allowed."""
    if operator is sre.ATOMIC_GROUP:
        return argument  # type: ignore[no-any-return]
    if operator is sre.SUBPATTERN:
        if argument[1] or argument[2]:
            raise ValueError("flags are allowed only at the beginning, as in (?i)/users")
        return argument[3]  # type: ignore[no-any-return]
    if operator in (sre.ASSERT, sre.ASSERT_NOT):
        raise ValueError("(?=…), (?!…), (?<=…) and (?<!…) are not allowed in a pattern")
    if operator in (sre.GROUPREF, sre.GROUPREF_EXISTS):
        raise ValueError("a reference to a group is not allowed in a pattern")
    return None


def _matches(operator: _Operator, argument: _Argument, sign: int) -> bool:
    """Return whether an item of an expression, or of a set in it, matches this character."""
    if operator is sre.LITERAL:
        return bool(argument == sign)
    if operator is sre.NOT_LITERAL:
        return bool(argument != sign)
    if operator is sre.RANGE:
        return bool(argument[0] <= sign <= argument[1])
    if operator is sre.CATEGORY:
        return re.match(_CLASSES[argument], chr(sign), _FLAGS) is not None
    if operator is sre.IN:
        items = [item for item in argument if item[0] is not sre.NEGATE]
        found = any(_matches(kind, value, sign) for kind, value in items)
        return found is (len(items) == len(argument))  # otherwise the set begins with ^
    return True  # ANY, with DOTALL
