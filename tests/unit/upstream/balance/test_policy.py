"""What all policies share, and the simplest of them."""

import pytest

from gproxy.http.request import request
from gproxy.upstream.balance.policy import BalancingPolicy, First


class Last(BalancingPolicy):
    def pick(self, backends, request):
        return backends[-1]


def test_a_policy_without_a_pick_raises():
    with pytest.raises(NotImplementedError):
        BalancingPolicy().pick(["a"], request())


def test_a_second_pick_is_a_pick_unless_the_policy_has_its_own():
    assert Last().pick_again(["a", "b"], request()) == "b"


def test_a_policy_keeps_the_very_list_of_candidates():
    policy, candidates = Last(), ["a", "b"]
    policy.set_candidates(candidates)
    assert policy._backends is candidates


def test_first_picks_the_first():
    assert First().pick(["a", "b"], request()) == "a"


def test_first_is_the_first_that_is_there(group):
    abc = group("a,b,c", balance="first")
    assert abc.picks(3) == "aaa"
    abc.lose("a")
    assert abc.picks(2) == "bb"
