"""Ejections, their lengths, trials and restorations, with a controlled clock."""

import random

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL, Seconds
from gproxy.config.types.matchers import Statuses
from gproxy.runtime import Runtime
from gproxy.testing import Clock, request
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.failure import NONE_AVAILABLE, RESET, Failure
from gproxy.upstream.health.passive import GRPCPassiveHealth, PassiveHealth
from gproxy.upstream.sticky import StickyUpstream
from gproxy.upstream.upstream import Upstream
from unit.upstream.backends import head

STALE = Failure(502, "backend_reset", "connection_terminated", "stale", "idempotent", False)


class Steady(random.Random):
    """No jitter."""

    def random(self):
        return 0.0


class Scene:
    """An upstream that is never opened: nothing but its decisions."""

    def __init__(self, count=2, rng=None, marks=(), **options):
        self.clock = Clock()
        urls = tuple(BackendURL("http", "host", port + 1, **dict(marks).get(port, {})) for port in range(count))
        settings = construct(UpstreamSettings, name="u", backends=urls, **options)
        self.upstream = Upstream(settings, RoundRobin(), Runtime(monotonic=self.clock, rng=rng or Steady()))
        self.backends = self.upstream.backends

    def ask(self, *tried):
        asked = request()
        asked.deadline.clock = self.clock
        asked.deadline.expires = self.clock() + 3
        backend = self.upstream.rotation.pick(asked, tried)
        if backend is not None:
            backend.attempts += 1
        return asked, backend

    def fail(self, number=0, times=1):
        """Fail requests at that backend, whichever one the policy picks."""
        backend = self.backends[number]
        for _ in range(times):
            backend.attempts += 1
            self.upstream.passive.failed(request(), backend, RESET, OSError("reset"))

    def succeed(self, number=0, times=1):
        for _ in range(times):
            self.backends[number].attempts += 1
            self.upstream.passive.answered(request(), self.backends[number], head(200))

    def picked(self, count=12):
        """The backends that so many requests meet, none of which has ended."""
        return {backend for _, backend in (self.ask() for _ in range(count))}

    @property
    def states(self):
        return [facts["state"] for facts in self.upstream.snapshot()]

    def out_for(self, number=0):
        return self.upstream.snapshot()[number].get("next_try_in")

    def trial(self, number=0):
        """The request that meets the backend on trial."""
        for _ in range(2 * len(self.backends)):
            asked, backend = self.ask()
            if backend is self.backends[number]:
                return asked
        raise AssertionError("no trial")


def test_three_failures_within_the_window_leave_it_out():
    scene = Scene()
    scene.fail(times=2)
    assert scene.states == ["healthy", "healthy"]
    scene.fail()
    assert scene.states == ["unhealthy", "healthy"]
    assert scene.out_for() == 5.0
    assert scene.upstream.snapshot()[0]["why"] == "backend_reset"
    assert scene.picked() == {scene.backends[1]}


def test_failures_that_are_older_than_the_window_do_not_count():
    scene = Scene(fail_window=Seconds(10))
    scene.fail(times=2)
    scene.clock.advance(10.1)
    scene.fail(times=2)
    assert scene.states == ["healthy", "healthy"]
    scene.clock.advance(9.9)
    scene.fail()
    assert scene.states == ["unhealthy", "healthy"]


def test_successes_in_between_do_not_excuse_every_third_failure():
    scene = Scene()
    for _ in range(3):
        scene.succeed(times=2)
        scene.fail()
    assert scene.states == ["unhealthy", "healthy"]


def test_one_broken_url_among_many_is_no_reason():
    scene = Scene()
    for _ in range(200):
        scene.succeed(times=19)
        scene.fail()
        scene.clock.advance(0.05)
    assert scene.states == ["healthy", "healthy"]
    scene.fail(times=20)  # but what fails from now on is, although ten seconds of good answers lie before it
    assert scene.states == ["unhealthy", "healthy"]


@pytest.mark.parametrize(
    ("status", "state"), [(200, "healthy"), (404, "healthy"), (499, "healthy"), (500, "healthy"), (501, "healthy"),
                          (502, "unhealthy"), (503, "unhealthy"), (504, "unhealthy"), (505, "healthy")],
)  # fmt: skip
def test_which_statuses_count(status, state):
    scene = Scene(max_fails=1)
    scene.upstream.passive.answered(request(), scene.backends[0], head(status))
    assert scene.states == [state, "healthy"]
    assert scene.backends[0].failures == (state == "unhealthy")


def test_the_statuses_are_an_option():
    scene = Scene(max_fails=1, fail_statuses=(Statuses(500, 500), Statuses(429, 429)))
    scene.upstream.passive.answered(request(), scene.backends[0], head(503))
    assert scene.states[0] == "healthy"
    scene.upstream.passive.answered(request(), scene.backends[0], head(429))
    assert scene.states[0] == "unhealthy"
    assert scene.upstream.snapshot()[0]["why"] == "status 429"
    none = Scene(max_fails=1, fail_statuses=())
    none.upstream.passive.answered(request(), none.backends[0], head(503))
    assert none.states[0] == "healthy"


@pytest.mark.parametrize("failure", [STALE, NONE_AVAILABLE])
def test_a_failure_that_no_backend_has_caused_is_not_counted(failure):
    scene = Scene(max_fails=1)
    scene.upstream.passive.failed(request(), scene.backends[0], failure, OSError())
    assert scene.states == ["healthy", "healthy"]


def test_max_fails_0_is_off():
    scene = Scene(max_fails=0)
    scene.fail(times=1000)
    assert scene.states == ["healthy", "healthy"]


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)])
def test_never_more_than_half_and_never_the_last(count, most):
    scene = Scene(count=count)
    for number in range(count):
        scene.fail(number, times=5)
    assert sum(facts.get("next_try_in", 0) > 0 for facts in scene.upstream.snapshot()) == most
    assert scene.states == ["unhealthy"] * count  # the failing ones that stay in rotation are unhealthy too
    assert scene.picked() == set(scene.backends[most:])


def test_one_that_had_to_stay_is_well_with_its_first_good_answer():
    scene = Scene(count=1)
    scene.fail(times=3)
    assert scene.states == ["unhealthy"]
    scene.succeed()
    assert scene.states == ["healthy"]
    assert scene.backends[0].health.doubtful is False
    scene.fail(times=2)
    assert scene.states == ["healthy"]


def test_those_that_take_no_part_are_not_counted():
    marks = {2: {"down": True}, 3: {"weight": 0}}
    scene = Scene(count=4, marks=marks)
    scene.fail(0, times=3)
    scene.fail(1, times=3)
    assert scene.states == ["unhealthy", "unhealthy", "down", "healthy"]
    assert scene.picked() == {scene.backends[1]}


def test_a_backup_lets_the_only_other_one_go():
    scene = Scene(marks={1: {"backup": True}})
    assert scene.picked() == {scene.backends[0]}
    scene.fail(times=3)
    assert scene.picked() == {scene.backends[1]}


def test_one_request_is_the_trial_and_the_others_go_elsewhere_meanwhile():
    scene = Scene()
    scene.fail(times=3)
    scene.clock.advance(4.9)
    assert scene.picked() == {scene.backends[1]}
    scene.clock.advance(0.1)
    asked = scene.trial()
    assert scene.states == ["trial", "healthy"]
    assert scene.picked() == {scene.backends[1]}
    scene.upstream.passive.answered(asked, scene.backends[0], head(200))
    assert scene.states == ["healthy", "healthy"]
    assert scene.picked() == set(scene.backends)
    assert scene.upstream.rotation._next_change is None  # and requests pay nothing for it any more


def test_a_trial_that_fails_leaves_it_out_for_longer():
    scene = Scene()
    scene.fail(times=3)
    for expected in (10.0, 15.0, 20.0):
        scene.clock.advance(60)
        asked = scene.trial()
        scene.upstream.passive.failed(asked, scene.backends[0], RESET, OSError())
        assert scene.out_for() == expected
    scene.clock.advance(60)
    scene.upstream.passive.answered(scene.trial(), scene.backends[0], head(503))
    assert scene.out_for() == 25.0


def test_the_longest_ejection_is_a_minute():
    scene = Scene(eject_time=Seconds(25))
    scene.fail(times=3)
    for expected in (50.0, 60.0, 60.0):
        scene.clock.advance(100)
        scene.upstream.passive.failed(scene.trial(), scene.backends[0], RESET, OSError())
        assert scene.out_for() == expected


def test_an_eject_time_beyond_a_minute_is_kept():
    scene = Scene(eject_time=Seconds(300))
    scene.fail(times=3)
    assert scene.out_for() == 300.0


def test_the_time_has_jitter():
    times = set()
    for seed in range(20):
        scene = Scene(rng=random.Random(seed))
        scene.fail(times=3)
        times.add(scene.out_for())
    assert len(times) > 3
    assert all(5.0 <= time <= 5.5 for time in times)


def test_a_request_sent_before_an_ejection_does_not_change_it():
    """Neither a late success brings it back, nor does a late failure prolong it; nor do they count as its trial."""
    scene = Scene()
    scene.fail(times=3)
    scene.clock.advance(1)
    scene.succeed(times=3)
    scene.fail(times=3)
    assert scene.states == ["unhealthy", "healthy"]
    assert scene.out_for() == 4.0
    scene.clock.advance(4)
    asked = scene.trial()
    scene.succeed()
    scene.fail()
    assert scene.states == ["trial", "healthy"]
    scene.upstream.passive.answered(asked, scene.backends[0], head(200))
    assert scene.states == ["healthy", "healthy"]


def test_a_trial_whose_client_leaves_is_followed_by_another_once_its_deadline_has_passed():
    scene = Scene()
    scene.fail(times=3)
    scene.clock.advance(5)
    scene.trial()
    scene.clock.advance(2.9)
    assert scene.picked() == {scene.backends[1]}
    scene.clock.advance(0.2)
    asked = scene.trial()
    scene.upstream.passive.answered(asked, scene.backends[0], head(204))
    assert scene.states == ["healthy", "healthy"]


def test_a_flapping_backend_is_ejected_for_longer_and_a_quiet_minute_makes_up_for_one_ejection():
    scene = Scene()

    def flap():
        scene.fail(times=3)
        out = scene.out_for()
        scene.clock.advance(out)
        scene.upstream.passive.answered(scene.trial(), scene.backends[0], head(200))
        return out

    assert [flap() for _ in range(4)] == [5.0, 10.0, 15.0, 20.0]
    scene.clock.advance(125)
    assert flap() == 15.0
    scene.clock.advance(3600)
    assert flap() == 5.0


def test_the_last_resort_is_a_trial_too():
    """A request tries an ejected backend after all others have failed; success restores the backend."""
    scene = Scene()
    scene.fail(times=3)
    asked, backend = scene.ask(scene.backends[1])
    assert backend is scene.backends[0]
    scene.upstream.passive.answered(asked, backend, head(200))
    assert scene.states == ["healthy", "healthy"]


def test_a_crowd_at_the_last_resort_does_not_keep_the_first_from_deciding():
    scene = Scene()
    scene.fail(times=3)
    first, _ = scene.ask(scene.backends[1])
    for _ in range(5):
        _, backend = scene.ask(scene.backends[1])
        assert backend is scene.backends[0]
    scene.upstream.passive.answered(first, scene.backends[0], head(200))
    assert scene.states == ["healthy", "healthy"]


def test_a_trial_that_fails_when_no_other_backend_is_healthy():
    scene = Scene()
    scene.fail(0, times=3)
    scene.clock.advance(5)
    scene.upstream.mark_probe(scene.backends[1], False, "status 500")
    asked = scene.trial()
    scene.upstream.passive.failed(asked, scene.backends[0], RESET, OSError())
    assert scene.states == ["unhealthy", "unhealthy"]
    assert scene.picked() == {scene.backends[0]}  # of two bad ones that which its probes do not speak against


def test_state_can_be_set_from_outside():
    scene = Scene()
    scene.upstream.passive.eject(scene.backends[0], 7.0, "another process says so")
    assert (scene.states[0], scene.out_for()) == ("unhealthy", 7.0)
    scene.upstream.passive.restore(scene.backends[0])
    assert scene.states == ["healthy", "healthy"]


# --- what probes say


def test_probes_and_requests_are_two_opinions():
    scene = Scene(health_path="/h")
    left, _ = scene.backends
    scene.upstream.mark_probe(left, False, "status 500")
    assert (scene.states[0], scene.upstream.snapshot()[0]["why"]) == ("unhealthy", "status 500")
    scene.succeed()
    assert scene.states[0] == "unhealthy"
    scene.upstream.mark_probe(left, True, "")
    assert scene.states == ["healthy", "healthy"]


def test_a_good_probe_ends_the_wait_but_not_the_trial():
    scene = Scene(health_path="/h")
    scene.fail(times=3)
    scene.upstream.mark_probe(scene.backends[0], True, "")
    assert scene.states == ["trial", "healthy"]
    asked = scene.trial()
    assert scene.picked() == {scene.backends[1]}
    scene.upstream.mark_probe(scene.backends[0], True, "")  # a probe in the middle of it lets no second one through
    assert scene.picked() == {scene.backends[1]}
    scene.upstream.passive.failed(asked, scene.backends[0], RESET, OSError())
    assert scene.out_for() == 10.0


def test_down_until_a_probe_was_good():
    scene = Scene(health_path="/h", initial="down")
    assert scene.ask()[1] is None
    assert scene.states == ["unhealthy"] * 2
    assert scene.upstream.snapshot()[0]["why"] == "not probed yet"
    scene.upstream.mark_probe(scene.backends[0], False, "connect_refused")
    scene.upstream.rotation.refresh()
    assert scene.ask()[1] is None
    scene.upstream.mark_probe(scene.backends[0], True, "")
    assert scene.picked() == {scene.backends[0]}
    scene.upstream.mark_probe(scene.backends[0], False, "timeout")
    assert scene.picked() == {scene.backends[0]}  # proven once, it is the last resort


@pytest.mark.parametrize("initial", ["unknown", "up"])
def test_up_before_the_first_probe(initial):
    scene = Scene(health_path="/h", initial=initial)
    assert scene.states == ["healthy"] * 2
    assert scene.picked() == set(scene.backends)


def test_failures_of_a_dead_backend_are_logged_once_and_summed_up(caplog):
    scene = Scene(max_fails=0)
    scene.fail(times=5000)
    assert len(caplog.messages) == 1
    assert "backend host:1: the backend broke off its response (reset)" in caplog.messages[0]
    scene.clock.advance(10)
    scene.upstream.runtime.throttle.summarize()
    assert caplog.messages[1:] == ["upstream u: backend host:1: backend_reset: 4999 more within 10 s"]


def test_each_change_is_one_line(caplog):
    scene = Scene(health_path="/h")
    scene.fail(times=3)
    scene.clock.advance(5)
    scene.upstream.passive.answered(scene.trial(), scene.backends[0], head(200))
    for passes in (False, False, True, True):
        scene.upstream.mark_probe(scene.backends[0], passes, "" if passes else "timeout")
    assert caplog.messages[1:] == [
        "upstream u: backend host:1 ejected for 5.0 s: backend_reset",
        "upstream u: backend host:1 restored",
        "upstream u: backend host:1 fails its health checks: timeout",
        "upstream u: backend host:1 passes its health checks again",
    ]


def test_an_ejection_is_logged_once_while_the_last_resort_fails(caplog):
    """Both are dead. The second stays in rotation, so each request tries it, and then the first as the last resort."""
    scene = Scene()

    def lines():
        return [line for line in caplog.messages if "host:1 ejected" in line]

    def fail_at_both():
        tried = []
        for _ in scene.backends:
            asked, backend = scene.ask(*tried)
            scene.upstream.passive.failed(asked, backend, RESET, OSError("reset"))
            tried.append(backend)
        assert tried == scene.backends[::-1]

    scene.fail(times=3)
    for _ in range(10):
        fail_at_both()
    assert lines() == ["upstream u: backend host:1 ejected for 5.0 s: backend_reset"]
    scene.clock.advance(5)
    for _ in range(10):
        fail_at_both()
    assert lines()[1:] == ["upstream u: backend host:1 ejected for 60.0 s: backend_reset"]
    asked, backend = scene.ask(scene.backends[1])
    scene.upstream.passive.answered(asked, backend, head(200))
    scene.fail(times=3)
    assert len(lines()) == 3  # it was back in the meantime


def test_a_client_that_sticks_to_a_backend_on_trial_is_its_trial_and_the_next_is_not(group):
    held = group("a,b", kind=StickyUpstream, balance="sticky", fail_statuses=())
    own = f"sticky_u={held.upstream._cookie.token('a:80')}"
    held["a"].health.eject(held.clock.now + 5, "because")
    held.upstream.rotation.refresh()
    assert held.pick(request(headers={"Cookie": own})) == "b"
    held.clock.now += 6
    held.upstream.rotation.refresh()
    asked = request(headers={"Cookie": own})
    assert held.pick(asked) == "a"
    assert held.pick(request(headers={"Cookie": own})) == "b"
    held.upstream.passive.answered(asked, held["a"], head(200))
    assert held.pick(request(headers={"Cookie": own})) == "a"


GRPC = ("content-type", "application/grpc")


def grpc_upstream(**options):
    urls = tuple(BackendURL("http", "host", port) for port in (1, 2))
    settings = construct(UpstreamSettings, name="u", backends=urls, **{"http2": "yes", "max_fails": 1, **options})
    return Upstream(settings, RoundRobin(), Runtime(monotonic=Clock()))


@pytest.mark.parametrize(
    ("answer", "ejects"),
    [
        (head(200, [GRPC, ("grpc-status", "14")]), True),
        (head(200, [GRPC, ("grpc-status", "13")]), False),
        (head(200, [GRPC]), False),
        (head(200, [("grpc-status", "14")]), False),
        (head(502, [GRPC]), True),
        (head(502), True),
    ],
)
def test_a_head(answer, ejects):
    upstream = grpc_upstream()
    first = upstream.backends[0]
    upstream.passive.answered(request("POST"), first, answer)
    assert (not first.is_healthy, first.failures) == (ejects, int(ejects))


@pytest.mark.parametrize(("status", "ejects"), [("14", True), ("13", False), ("0", False)])
def test_trailers(status, ejects):
    upstream = grpc_upstream()
    passive, first = upstream.passive, upstream.backends[0]
    assert isinstance(passive, GRPCPassiveHealth)
    passive.ended(request("POST"), first, [("Grpc-Status", status)])
    assert first.is_healthy is not ejects


def test_a_trial_that_gets_the_status_does_not_restore_the_backend():
    upstream = grpc_upstream()
    first = upstream.backends[0]
    upstream.passive.eject(first, 5.0, "grpc-status 14")
    trial = request("POST")
    first.health.try_with(trial, upstream.runtime.monotonic() + 3.0)
    upstream.passive.answered(trial, first, head(200, [GRPC, ("grpc-status", "14")]))
    assert not first.is_healthy


def test_an_upstream_without_http2_has_the_plain_one():
    assert type(grpc_upstream(http2="no").passive) is PassiveHealth
