import random

import pytest

from gproxy.http.identity import Identity
from gproxy.identity.rules.access_rules import AccessRules, Verdict
from gproxy.identity.rules.rule import Rule
from gproxy.testing import request

ALICE = Identity(
    user="alice",
    claims={"plan": "pro", "level": 3, "beta": True, "groups": ["a", "b"], "realm": {"roles": ["x"]}, "none": None},
    handler="jwt",
    issuer="https://a.example",
    scopes=frozenset({"orders.read", "orders.list"}),
    roles=frozenset({"clerk"}),
)
EDGE = Identity(user="edge-1", handler="mtls")


class Orders:
    name = "orders"
    patterns = ()


def rules(*allow, deny=()):
    return AccessRules([*map(Rule.parse, allow)], [*map(Rule.parse, deny)])


def asking(identity=ALICE, method="GET", client="192.0.2.1"):
    made = request(method, "/", client=client)
    made.identity = identity
    made.route = Orders()
    made.context["identities"] = {} if identity is None else {identity.handler: identity, "mtls": EDGE}
    return made


def verdict(found, asked):
    """Return the verdict, which the fast way must share."""
    judged = found.judge(asked)
    assert found.admits(asked) is judged.admitted
    return judged


HOLD = [
    "anyone", "user", "user:bob|alice", "role:lead|clerk", "scope:orders.read", "scope:orders.read scope:orders.list",
    "issuer:https://a.example", "by:jwt", "claim:plan", "claim:plan=pro", "claim:plan=free|pro", "claim:level=3",
    "claim:beta=true", "claim:groups=b", "claim:realm.roles=x", "claim:realm", "mtls.user:edge-1", "mtls.user",
    "mtls.user:edge-1 user:alice", "method:GET", "method:GET|HEAD user:alice", "route:orders", "route:x|orders role:clerk",
    "192.0.2.0/24", "10.0.0.0/8|192.0.2.1 scope:orders.read", "anyone 192.0.2.0/24",
]  # fmt: skip
DO_NOT_HOLD = [
    "user:bob", "user:Alice", "role:lead", "role:orders.read", "scope:orders.write", "scope:orders.read scope:x",
    "issuer:https://b.example", "by:mtls", "claim:plans", "claim:none", "claim:plan=Pro", "claim:level=3.0",
    "claim:beta=1", "claim:groups=c", "claim:realm=x", "claim:realm.roles=y", "mtls.user:alice", "other.user",
    "mtls.role:clerk", "method:POST", "method:PUT|HEAD user:alice", "route:users", "10.0.0.0/8",
    "192.0.2.0/24 role:lead", "method:GET route:orders role:lead",
]  # fmt: skip


@pytest.mark.parametrize("text", HOLD)
def test_rules_that_admit(text):
    assert verdict(rules("role:none", text), asking()) == Verdict(True, Rule.parse(text))


@pytest.mark.parametrize("text", DO_NOT_HOLD)
def test_rules_that_do_not_admit(text):
    assert not verdict(rules("role:none", text), asking()).admitted


@pytest.mark.parametrize("text", HOLD)
def test_deny_wins(text):
    assert verdict(rules("anyone", text, deny=["role:none", text]), asking()) == Verdict(False, Rule.parse(text))


@pytest.mark.parametrize("text", DO_NOT_HOLD)
def test_deny_that_does_not_hold(text):
    assert verdict(rules("anyone", deny=[text]), asking()).admitted
    assert verdict(rules(deny=[text]), asking()) == Verdict(True)


@pytest.mark.parametrize("text", [*HOLD, *DO_NOT_HOLD])
def test_without_an_identity_only_words_about_the_request_hold(text):
    rule = Rule.parse(text)
    expected = not rule.is_about_identity and text in HOLD
    assert verdict(rules(text), asking(None)).admitted is expected


def test_words_about_the_method_hold_for_that_method_only():
    found = rules("method:GET|HEAD scope:orders.read", "method:DELETE role:admin", "role:clerk method:PATCH")
    admitted = [
        name
        for name in ("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT")
        if verdict(found, asking(method=name)).admitted
    ]
    assert admitted == ["GET", "HEAD", "PATCH"]


@pytest.mark.parametrize(
    ("allow", "deny", "lacks"),
    [
        (["user"], [], "identity"),
        (["role:admin", "10.0.0.0/8"], [], "identity"),
        (["method:GET scope:a"], [], "identity"),
        (["mtls.user"], [], "identity"),
        (["method:POST user"], [], ""),
        (["10.0.0.0/8 user"], [], ""),
        (["10.0.0.0/8"], [], ""),
        (["user"], ["192.0.2.1"], ""),
    ],
)
def test_whether_an_identity_could_help(allow, deny, lacks):
    assert verdict(rules(*allow, deny=deny), asking(None)).lacks == lacks


@pytest.mark.parametrize(
    ("allow", "scopes", "handler"),
    [
        (["scope:orders.write"], ("orders.write",), ""),
        (["method:POST scope:a", "method:GET scope:b", "scope:c"], ("b",), ""),
        (["role:admin", "role:clerk scope:x|y scope:z"], ("x", "z"), ""),
        (["scope:orders.read scope:z"], ("orders.read", "z"), ""),
        (["mtls.scope:a user:alice"], ("a",), "mtls"),
    ],
)
def test_missing_scopes_are_those_of_the_first_rule_that_lacks_nothing_else(allow, scopes, handler):
    found = verdict(rules(*allow), asking())
    assert (found.lacks, found.scopes, found.handler) == ("scope", scopes, handler)


@pytest.mark.parametrize(
    "allow", [["role:admin"], ["role:admin scope:a"], ["method:POST scope:a"], ["user:bob scope:a"]]
)
def test_scopes_alone_would_not_help(allow):
    assert verdict(rules(*allow), asking()) == Verdict(False)


def test_both_ways_of_judging_agree_on_any_rules():
    rng = random.Random(4)
    texts = [*HOLD, *DO_NOT_HOLD]
    for _ in range(300):
        allow, deny = (rng.sample(texts, rng.randrange(4)) for _ in range(2))
        found = rules(*allow, deny=deny)
        for asked in (asking(), asking(None), asking(EDGE, "POST"), asking(method="HEAD", client="10.1.1.1")):
            verdict(found, asked)
