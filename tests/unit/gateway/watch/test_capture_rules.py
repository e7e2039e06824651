"""The rules by which exchanges are captured: they come and go, and without one nothing asks."""

import pytest

from gproxy.gateway.watch.capture import MOST_KEPT
from gproxy.gateway.watch.capture_rules import CaptureRules
from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.http.request import request


class Route:
    patterns = ()

    def __init__(self, name):
        self.name = name


class Rule:
    body_limit = 0

    def __init__(self, *routes, fails=False):
        self.routes = routes
        self.asked = 0
        self.taken = 0
        self._fails = fails

    def wants(self, request):
        self.asked += 1
        return request.path == "/wanted"

    def take(self, capture, exchange):
        self.taken += 1
        if self._fails:
            raise KeyError("a fault")


@pytest.fixture
def lists():
    return [], []


@pytest.fixture
def rules(lists):
    watching, observers = lists
    return CaptureRules(watching, observers, ["users", "orders"])


def asked(route, target="/wanted"):
    made = request("GET", target)
    made.route = Route(route) if route else None
    return made


def test_the_gateway_asks_only_while_there_is_a_rule(rules, lists):
    first, second = Rule("users"), Rule()
    assert lists == ([], [])
    rules.add(first)
    rules.add(second)
    assert lists == ([rules], [rules])
    rules.remove(first)
    rules.remove(first)
    assert lists == ([rules], [rules])
    rules.remove(second)
    assert lists == ([], [])


def test_a_request_on_another_route_does_not_reach_the_rule(rules):
    rules.add(rule := Rule("users"))
    assert not rules.wants(asked("orders"))
    assert not rules.wants(asked(""))
    assert rule.asked == 0
    assert not rules.wants(asked("users", "/other"))
    assert rules.wants(asked("users"))
    assert rule.asked == 2


def test_a_rule_without_routes_gets_all_requests(rules):
    rules.add(Rule())
    assert rules.wants(asked("orders"))
    assert rules.wants(asked("")), "a request that no route takes"


def test_only_the_rules_that_want_it_get_the_capture(rules):
    wanting, other = Rule("users"), Rule("users")
    other.wants = lambda _: False
    rules.add(wanting)
    rules.add(other)
    one = asked("users")
    assert rules.wants(one)
    assert isinstance(one.exchange.account, TimeAccount)
    rules.record(one.exchange)
    rules.record(request().exchange)
    assert (wanting.taken, other.taken) == (1, 0)


def test_exchanges_under_way_share_the_room_for_bodies(rules):
    taken = []
    rule = Rule()
    rule.body_limit = MOST_KEPT
    rule.take = lambda capture, _: taken.append(len(capture.body.kept))
    rules.add(rule)
    ended, under_way = (request("POST", "/wanted", {}, bytes(MOST_KEPT // 2)) for _ in range(2))
    assert rules.wants(ended)
    rules.record(ended.exchange)
    assert rules.wants(under_way)
    for _ in range(3):
        more = request("POST", "/wanted", {}, bytes(MOST_KEPT))
        assert rules.wants(more)
        rules.record(more.exchange)
    assert taken == [MOST_KEPT // 2, *[MOST_KEPT // 2] * 3]


def test_a_rule_that_fails_ends(rules, lists, caplog):
    rules.add(rule := Rule(fails=True))
    one = asked("users")
    assert rules.wants(one)
    rules.record(one.exchange)
    assert rule not in rules
    assert "a captured exchange is lost" in caplog.text
    rules.remove(rule)
    assert lists == ([], [])


def test_an_unknown_route_is_an_error_with_a_hint(rules, lists):
    with pytest.raises(ValueError, match="unknown route 'user'; did you mean 'users'"):
        rules.add(Rule("user"))
    assert lists == ([], [])
