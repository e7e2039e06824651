"""Access rules, compiled at the start: which requests they admit, and what the others lack."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gproxy.http.request import Request
from gproxy.identity.rules.rule import Rule, Word
from gproxy.identity.rules.word_tests import Together, test_of

_NONE: Final[frozenset[str]] = frozenset()


class Verdict(NamedTuple):
    """The decision on a request. `rule` is that which admits or denies it, or which it would meet with more scopes.

    `lacks` is "identity" or "scope" if a rule would admit the request with it. `scopes` are those that the rule wants
    of the identity of `handler`; "": of the request's identity.
    """

    admitted: bool
    rule: Rule | None = None
    lacks: str = ""
    scopes: tuple[str, ...] = ()
    handler: str = ""


class AccessRules:
    """The rules of `allow` and `deny`: any rule of `allow` admits a request (all if there is none), `deny` wins.

    Methods have a case (RFC 9110 section 9.1), but some backends take `delete` for DELETE: `deny` ignores the case.
    """

    def __init__(self, allow: Sequence[Rule], deny: Sequence[Rule]) -> None:
        self._rules = allow, deny
        self._allow = tuple(map(_TestedRule, allow))
        self._deny = tuple(map(_DenyingRule, deny))
        words = [word for rule in (*allow, *deny) for word in rule.words]
        #: PERF: a look-up selects the rules for the method and the route of a request.
        self._methods = _methods(words)
        self._denied = _methods(word for rule in deny for word in rule.words)
        self._routes = frozenset(value for word in words if word.kind == "route" for value in word.values)
        self._plans: dict[tuple[str, str], _Plan] = {}

    def admits(self, request: Request) -> bool:
        """Return whether the rules admit the request."""
        method = request.method
        if method not in self._methods:
            method = method.lower() if self._denied and method.upper() in self._denied else ""
        route = ""
        if self._routes and request.route is not None and request.route.name in self._routes:
            route = request.route.name
        plan = self._plans.get((method, route))
        if plan is None:
            plan = self._plans[method, route] = _Plan(*self._rules, {"method": method, "route": route})
        return plan.admits(request)

    def judge(self, request: Request) -> Verdict:
        """Return the decision with its reason; slower than `admits`, with the same result."""
        denied = next((one.rule for one in self._deny if not one.failing(request)), None)
        if denied is not None:
            return Verdict(False, denied)
        if not self._allow:
            return Verdict(True)
        failing = [(one.rule, one.failing(request)) for one in self._allow]
        admitting = next((rule for rule, words in failing if not words), None)
        return _rejected(request, failing) if admitting is None else Verdict(True, admitting)


def _methods(words: Iterable[Word]) -> frozenset[str]:
    return frozenset(value for word in words if word.kind == "method" for value in word.values)


def _rejected(request: Request, failing: Sequence[tuple[Rule, Sequence[Word]]]) -> Verdict:
    """Return the decision on a request that no rule admits, with the words of each rule that do not hold."""
    if request.identity is None:
        could = any(all(word.is_about_identity for word in words) for _, words in failing)
        return Verdict(False, lacks="identity" if could else "")
    for rule, words in failing:
        if all(word.kind == "scope" for word in words):
            handler = words[0].handler
            wanted = (word.values[0] for word in rule.words if word.kind == "scope" and word.handler == handler)
            return Verdict(False, rule, "scope", tuple(dict.fromkeys(wanted)), handler)
    return Verdict(False)


class _TestedRule:
    """A rule with the test of each of its words."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._tests = [(word, self._test_of(word)) for word in rule.words]

    def _test_of(self, word: Word) -> Callable[[Request], bool]:
        return test_of(word)

    def failing(self, request: Request) -> list[Word]:
        """Return the words that do not hold."""
        return [word for word, test in self._tests if not test(request)]


class _DenyingRule(_TestedRule):
    """A rule of `deny`."""

    def _test_of(self, word: Word) -> Callable[[Request], bool]:
        if word.kind != "method":
            return super()._test_of(word)
        return lambda request: request.method.upper() in word.values


class _Plan:
    """The rules that may hold for requests with one method and route, reduced to the words that remain to test.

    `known` has the method and the route; "" is any that no rule names. A method in lower case stands for all spellings
    that are not upper case: only `deny` takes them for the method.
    """

    __slots__ = ("_allow", "_allow_anyone", "_deny", "_deny_anyone")

    def __init__(self, allow: Sequence[Rule], deny: Sequence[Rule], known: Mapping[str, str]) -> None:
        in_deny = {**known, "method": known["method"].upper()}
        #: None: every request that is not denied is admitted; no request is denied.
        self._allow = _together(allow, known) if allow else None
        self._deny = _together(deny, in_deny) if deny else None
        #: Those for requests without an identity.
        self._allow_anyone = _together(_for_anyone(allow), known) if allow else None
        self._deny_anyone = _together(_for_anyone(deny), in_deny) if deny else None

    def admits(self, request: Request) -> bool:
        """Return whether the rules admit the request."""
        identity = request.identity
        if identity is None:
            allow, deny, scopes, roles = self._allow_anyone, self._deny_anyone, _NONE, _NONE
        else:
            allow, deny, scopes, roles = self._allow, self._deny, identity.scopes, identity.roles
        if deny is not None and deny(request, identity, scopes, roles):
            return False
        return allow is None or allow(request, identity, scopes, roles)


def _for_anyone(rules: Sequence[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.is_about_identity]


def _together(rules: Sequence[Rule], known: Mapping[str, str]) -> Callable[..., bool]:
    """Return the test whether one of the rules holds."""
    remaining = []
    for rule in rules:
        fixed = [word for word in rule.words if word.kind in known]
        if all(known[word.kind] in word.values for word in fixed):
            remaining.append([word for word in rule.words if word not in fixed])
    return Together(remaining).holds
