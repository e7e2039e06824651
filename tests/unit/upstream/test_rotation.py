"""Candidates, trials and slow starts of a rotation alone: backends, a policy and a clock, and no upstream."""

import math

import pytest

from gproxy.config.types import BackendURL
from gproxy.http.body import Body
from gproxy.http.framing import reader
from gproxy.testing import Clock, request
from gproxy.upstream.balance.policy import First
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.balance.slow_start import SlowStart
from gproxy.upstream.balance.user import UserPolicy
from gproxy.upstream.rotation import Rotation
from unit.upstream.backends import backend_of

FAR = 3600.0


def backend(word):
    return backend_of(BackendURL.parse(f"http://{word}"), keepalive=2, connect_timeout=1.0)


class CountingClock(Clock):
    """A clock that counts how often it is looked at."""

    looks = 0

    def __call__(self):
        self.looks += 1
        return super().__call__()


class Scene:
    """A rotation of backends named by letters; `rooms` has what `resize` was called with."""

    def __init__(self, words, policy=None, slow_start=0.0):
        self.clock = CountingClock()
        self.rooms = []
        self.policy = policy or First()
        self.rotation = Rotation(self.policy, SlowStart(slow_start, self.clock), self.clock, self.rooms.append)
        self.set(*map(backend, words.split(",")))

    def set(self, *backends):
        self.backends = {one.name[0]: one for one in backends}
        self.rotation.set_backends(backends)

    def __getitem__(self, letter):
        return self.backends[letter]

    def request(self, *, deadline=FAR):
        asked = request("GET", "/")
        asked.deadline.expires = self.clock() + deadline
        return asked

    def pick(self, asked=None, tried=""):
        found = self.rotation.pick(asked or self.request(), [self[letter] for letter in tried])
        return found and found.name[0]

    def picks(self, count):
        return "".join(self.pick() for _ in range(count))

    def eject(self, letter, seconds):
        self[letter].health.eject(self.clock() + seconds, "because")
        self.rotation.refresh()


def test_the_candidates_are_the_healthy_then_the_backups_then_the_last_resort():
    some = Scene("a backup,b,c down,d drain,e weight=0")
    assert some.pick() == "b"
    some["b"].health.mark_probe(False)
    some.rotation.refresh()
    assert some.pick() == "a"
    some["a"].health.mark_probe(False)
    some.rotation.refresh()
    assert some.pick() == "a"
    assert some.pick(tried="a") == "b"
    assert some.pick(tried="ab") is None


def test_a_retry_that_has_tried_a_tier_goes_on_to_the_next():
    some = Scene("a,b,c backup")
    some.eject("b", 5)
    assert [some.pick(tried=tried) for tried in ("", "a", "ac", "abc")] == ["a", "c", "b", None]


def test_a_change_of_health_counts_from_the_refresh_on():
    some = Scene("a,b")
    some["a"].health.mark_probe(False)
    assert some.pick() == "a"
    some.rotation.refresh()
    assert some.pick() == "b"


def test_replaced_backends_are_picked_no_more():
    some = Scene("a,b")
    some.set(backend("c"), some["b"])
    assert some.pick() == "c"
    assert some.pick(tried="c") == "b"


def test_without_backends_there_is_none():
    assert Rotation(First(), SlowStart(0.0, Clock()), Clock()).pick(request()) is None


def test_the_policy_gets_the_list_that_it_was_given_before():
    """Policies look up what they have computed for this list object."""
    seen = []
    some = Scene("a,b", UserPolicy("policies:first", lambda backends, _: seen.append(backends)))
    some.rotation.refresh()
    some.pick()
    assert seen[0] is some.policy._backends


class TestTrials:
    def test_the_clock_alone_ends_an_ejection(self):
        some = Scene("a,b")
        some.eject("a", 5)
        some.clock.advance(4.9)
        assert some.picks(3) == "bbb"
        some.clock.advance(0.1)
        assert some.picks(3) == "abb"  # one request is the trial

    def test_a_trial_without_a_result_makes_room_for_another_one_after_a_minute(self):
        some = Scene("a,b")
        some.eject("a", 5)
        some.clock.advance(5)
        assert some.picks(2) == "ab"
        some.clock.advance(59.9)
        assert some.pick() == "b"
        some.clock.advance(0.1)
        assert some.picks(2) == "ab"

    def test_a_trial_ends_with_its_deadline(self):
        some = Scene("a,b")
        some.eject("a", 5)
        some.clock.advance(5)
        assert some.pick(some.request(deadline=3)) == "a"
        some.clock.advance(3)
        assert some.pick() == "a"

    def test_a_slow_upload_does_not_delay_the_next_trial(self):
        some = Scene("a,b")
        some.eject("a", 5)
        some.clock.advance(5)
        upload = some.request()
        upload.body = Body(b"", reader(8, None), 8)
        assert some.pick(upload) == "a"
        assert some.pick() == "a"

    def test_a_retry_may_be_the_trial_of_the_last_resort(self):
        some = Scene("a,b")
        some.eject("b", 60)
        asked = some.request()
        assert some.pick(asked, tried="a") == "b"
        assert some["b"].health.trial is asked
        assert some.pick(tried="a") == "b"
        assert some["b"].health.trial is asked

    def test_the_result_of_a_trial_makes_the_clock_unneeded(self):
        some = Scene("a,b")
        some.eject("a", 5)
        some.clock.advance(5)
        some.pick()
        some["a"].health.restore()
        some.rotation.refresh()
        asked, looks = some.request(), some.clock.looks
        assert [some.pick(asked), some.pick(asked)] == ["a", "a"]
        assert some.clock.looks == looks


class TestRoom:
    def test_each_refresh_reports_the_room_of_the_candidates(self):
        some = Scene("a max_connections=3,b max_connections=4")
        some.eject("a", 5)
        some.eject("b", 5)
        assert some.rooms == [7, 4, 7]  # the last one is that of the last resort

    def test_the_room_is_endless_with_one_unlimited_backend(self):
        some = Scene("a max_connections=3,b")
        some.eject("b", 5)
        assert some.rooms == [math.inf, 3]

    def test_a_half_open_backend_has_no_room_and_a_trial_by_pick_is_reported(self):
        some = Scene("a max_connections=3,b max_connections=4")
        some.eject("a", 5)
        some.clock.advance(5)
        some.rooms.clear()
        assert some.pick() == "a"
        assert some.rooms == [4, 4]  # half-open at first, then ejected for all but its trial

    def test_a_full_backend_is_left_to_others(self):
        some = Scene("a max_connections=1,b max_connections=1")
        some["a"].active = 1
        assert some.pick() == "b"
        some["b"].active = 1
        assert some.pick() is None
        some["a"].active = 0
        assert some.pick() == "a"


class TestSlowStart:
    def restored(self, words="a,b"):
        some = Scene(words, RoundRobin(), slow_start=100.0)
        some.eject("b", 5)
        some["b"].health.restore()
        some.rotation.refresh()
        return some

    def test_a_restored_backend_has_a_growing_share(self):
        some = self.restored()
        some.clock.advance(50)
        assert some.picks(300).count("b") == pytest.approx(100, abs=1)  # half a weight beside a whole one
        some.clock.advance(50)
        assert some.picks(300).count("b") == 150

    def test_no_backend_starts_slowly_at_the_start(self):
        assert Scene("a,b", RoundRobin(), slow_start=100.0).picks(4) == "abab"

    def test_a_backend_that_is_added_later_starts_slowly_if_its_owner_says_so(self):
        some = Scene("a", RoundRobin(), slow_start=100.0)
        added = backend("b")
        added.start_slowly()
        some.set(some["a"], added)
        assert added.returned_at == some.clock()
        assert some.picks(20) == "a" * 20

    def test_a_half_open_backend_returns_with_the_result_of_its_trial(self):
        some = Scene("a,b", slow_start=100.0)
        some.eject("b", 5)
        some.clock.advance(5)
        some.pick()
        assert some["b"].returned_at == -math.inf
        some["b"].health.restore()
        some.rotation.refresh()
        assert some["b"].returned_at == some.clock()

    def test_a_slow_backend_that_is_full_takes_no_credit_of_others(self):
        some = self.restored("a max_connections=1,b")
        some["a"].active = 1
        assert some.picks(3) == "bbb"
