"""Exact shares in turn, and stable shares by key."""

from collections import Counter
from random import Random

import pytest

from gproxy.config.types.route_action import SplitKey
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.http.set_cookie import SetCookie
from gproxy.upstream.split import Split, StickySplit


def split(key=None, **weights):
    steps = [(lambda _, name=name: Response(body=name.encode()), weight) for name, weight in weights.items()]
    return Split(steps, SplitKey.parse(key) if key else None)


def pick(steps, asked=None):
    """Return the name of the upstream that takes the request."""
    return steps(asked or request()).read().decode()


def test_in_turn_the_shares_are_exact_and_interleaved():
    steps = split(stable=95, canary=5, off=0)
    seen = [pick(steps) for _ in range(200)]
    assert Counter(seen) == {"stable": 190, "canary": 10}
    assert {seen[n : n + 20].count("canary") for n in range(0, 200, 20)} == {1}
    assert [pick(split(a=2, b=1)) for _ in range(3)] == ["a", "a", "a"]
    turns = split(a=2, b=1)
    assert "".join(pick(turns) for _ in range(6)) == "abaaba"


@pytest.mark.parametrize(
    ("key", "headers"),
    [("header:X-User", {"X-User": "{}"}), ("cookie:uid", {"Cookie": "a=b; uid={}"}), ("ip", {})],
)
def test_by_key_a_client_stays_and_the_shares_are_about_right(key, headers):
    steps = split(key, stable=80, canary=20)

    def of(user):
        return pick(steps, request(headers={k: v.format(user) for k, v in headers.items()}, client=f"192.0.2.{user}"))

    first = [of(user) for user in range(1000)]
    assert [of(user) for user in range(1000)] == first
    assert 150 < first.count("canary") < 250


def test_a_client_that_changes_its_address_within_its_network_stays():
    steps = split("ip", a=1, b=1)
    assert {pick(steps, request(client=f"2001:db8::{number:x}")) for number in range(1, 50)} == {
        pick(steps, request(client="2001:db8::ffff"))
    }


def test_an_upstream_with_a_growing_share_keeps_its_clients():
    users = [f"user{n}" for n in range(1000)]
    small, large = split("ip", stable=95, canary=5), split("ip", stable=80, canary=20)
    before, after = ({user for user in users if steps.by_key(user)} for steps in (small, large))
    assert before < after


def test_without_the_key_it_is_in_turn():
    steps = split("cookie:uid", a=1, b=1)
    assert [pick(steps, request(headers={"Cookie": "other=1; uid="})) for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_share_of_zero_gets_no_request():
    steps = split("ip", off=0, on=1, out=0)
    assert {steps.by_key(str(n)) for n in range(100)} == {1}


def sticky(**weights):
    steps = [(lambda _, name=name: Response(body=name.encode()), weight) for name, weight in weights.items()]
    return StickySplit(steps, SetCookie("v"), Random(1))


def given(response):
    return (response.headers.get("set-cookie") or "").partition(";")[0]


def test_a_client_gets_a_cookie_for_the_upstream_of_its_turn():
    steps = sticky(off=0, stable=95, canary=5, last=0)
    responses = [steps(request()) for _ in range(200)]
    found = [(given(response), response.read().decode()) for response in responses]
    assert Counter(name for _, name in found) == {"stable": 190, "canary": 10}
    for cookie, name in found:
        again = steps(request(headers={"Cookie": cookie}))
        assert (again.read().decode(), given(again)) == (name, "")
    larger = sticky(off=0, stable=80, canary=20, last=0)
    moved = {pick(larger, request(headers={"Cookie": cookie})) for cookie, name in found if name == "canary"}
    assert moved == {"canary"}


@pytest.mark.parametrize("weights", [(1, 999_999_999), (999_999_999, 1, 999_999_999), (1, 0, 1)])
def test_every_upstream_has_points_at_both_ends_of_its_range(weights):
    steps = sticky(**{f"u{number}": weight for number, weight in enumerate(weights)})
    for number, weight in enumerate(weights):
        for end in (lambda first, _: first, lambda _, after: after - 1) if weight else ():
            steps._random.randrange = end
            assert steps.by_key(steps._point_in(number)) == number
