"""Two workers' halves of one upstream in one process; what needs several processes is in tests/process."""

import os

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.runtime import Runtime
from gproxy.state.shared.memory import SharedState
from gproxy.testing import Clock, request
from gproxy.upstream.http1.connect import Endpoint
from gproxy.upstream.upstream import Upstream
from unit.upstream.backends import head
from unit.upstream.conftest import policy_of

HALF_A_MINUTE = 30.0


class Worker:
    """A worker; `look` is its task ten times a second."""

    def __init__(self, clock, *names, **options):
        names = names or ("a", "b")
        urls = tuple(BackendURL("http", f"192.0.2.{ord(name)}", 80) for name in names)
        self.clock = clock
        policy = policy_of(options)
        settings = construct(UpstreamSettings, name="users", backends=urls, **options)
        self.runtime = Runtime(monotonic=clock)
        self.upstream = Upstream(settings, policy, self.runtime)
        self.upstream._discovery._names.clear()  # letters are not resolved
        for backend in self.upstream.backends:
            backend.endpoint = Endpoint(["127.0.0.1"], 80)
        self.backends = dict(zip(names, self.upstream.backends, strict=True))

    def open(self, state=None):
        self.runtime.shared = state
        self.upstream.open()
        return self

    def look(self):
        self.upstream._sync_health()

    def states(self):
        return [backend["state"] for backend in self.upstream.snapshot()]

    def eject(self, name):
        self.upstream.passive.eject(self.backends[name], HALF_A_MINUTE, "backend_reset")

    def picks(self, count):
        picked = [self.upstream.rotation.pick(request("GET", "/")) for _ in range(count)]
        return "".join(name for one in picked for name, backend in self.backends.items() if backend is one)


@pytest.fixture
def state():
    made = SharedState.create()
    yield made
    os.close(made.fd)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def workers(clock, state):
    made = []

    def make(*names, alone=False, **options):
        made.append(Worker(clock, *names, **options).open(None if alone else state))
        return made[-1]

    yield make
    for worker in made:
        worker.upstream.close()


def test_an_ejection_is_one_for_all(workers, clock):
    one, two = workers(), workers()
    one.eject("b")
    one.look()
    two.look()
    assert two.states() == ["healthy", "unhealthy"]
    assert two.backends["b"].health.ejected_until == one.backends["b"].health.ejected_until
    assert two.backends["b"].health.why == "backend_reset"
    assert two.picks(4) == "aaaa"


def test_ejections_of_two_workers_at_once_leave_each_a_backend(workers):
    one, two = workers(), workers()
    one.eject("a")
    two.eject("b")
    for _ in range(3):
        for worker in (one, two):
            worker.look()
    assert (one.picks(4), two.picks(4)) == ("bbbb", "aaaa")
    assert one.states() == two.states() == ["unhealthy", "unhealthy"]  # the one in rotation is failing
    one.upstream.passive.answered(request(), one.backends["b"], head(200))
    for worker in (one, two):
        worker.look()
    assert (one.states(), two.states()) == (["unhealthy", "healthy"], ["unhealthy", "healthy"])


def test_of_three_backends_two_workers_eject_one(workers):
    one, two = workers("a", "b", "c"), workers("a", "b", "c")
    one.eject("a")
    two.eject("b")
    one.look()
    two.look()
    one.look()
    assert (one.picks(4), two.picks(4)) == ("bcbc", "acac")


def test_a_worker_that_finishes_leaves_probing_to_another(workers, state, monkeypatch):
    resigned = []
    monkeypatch.setattr(state, "resign", resigned.append)
    one = workers()
    one.look()
    assert resigned == []
    one.runtime.draining = True
    one.look()
    one.look()
    assert resigned == ["probes of users"]


def test_when_its_time_is_over_each_tries_for_itself_and_what_one_finds_holds_for_all(workers, clock):
    one, two = workers(), workers()
    one.eject("b")
    for worker in (one, two):
        worker.look()
    clock.advance(HALF_A_MINUTE + 1)
    for worker in (one, two):
        worker.upstream.rotation.refresh()
        worker.look()
    assert [worker.states() for worker in (one, two)] == [["healthy", "trial"]] * 2
    one.upstream.passive.restore(one.backends["b"])
    for worker in (one, two):
        worker.look()
    assert [worker.states() for worker in (one, two)] == [["healthy", "healthy"]] * 2


def test_a_trial_that_fails_leaves_it_out_for_all_again(workers, clock):
    one, two = workers(), workers()
    one.eject("b")
    for worker in (one, two):
        worker.look()
    clock.advance(HALF_A_MINUTE + 1)
    one.upstream.rotation.refresh()
    two.upstream.rotation.refresh()
    two.eject("b")
    for worker in (two, one):
        worker.look()
    assert one.states() == ["healthy", "unhealthy"]


def test_a_new_worker_adopts_the_published_health_and_overrules_none_of_it(workers):
    one = workers()
    one.eject("b")
    one.look()
    two = workers("b", "c")
    assert two.states() == ["unhealthy", "healthy"]
    one.look()
    assert one.states() == ["healthy", "unhealthy"]


def test_a_worker_that_was_alone_publishes_its_health(workers, state):
    one = workers(alone=True)
    one.eject("b")
    one.runtime.share(state)
    assert workers().states() == ["healthy", "unhealthy"]


def test_alone_again_nothing_is_left_for_a_later_generation_to_believe(workers, state, clock):
    one = workers()
    one.eject("b")
    one.look()
    one.runtime.unshare()
    one.upstream.passive.restore(one.backends["b"])
    one.runtime.share(state)
    assert workers().states() == ["healthy", "healthy"]
    assert one.states() == ["healthy", "healthy"]


def test_nothing_new_nothing_done(workers, monkeypatch):
    one = workers()
    one.look()
    monkeypatch.setattr(one.upstream._shared_health, "_read", None)
    for _ in range(3):
        one.look()


def test_decisions_of_probes_are_published(workers):
    one, two = (workers(health_path="/health", initial="unknown") for _ in range(2))
    one.upstream.mark_probe(one.backends["a"], True, "")
    one.upstream.mark_probe(one.backends["b"], False, "status 500")
    for worker in (one, two):
        worker.look()
    assert two.states() == ["healthy", "unhealthy"]
    assert two.backends["b"].health.why == "status 500"


def test_a_draining_worker_leaves_probing_to_others(workers, state):
    one = workers(health_path="/health")
    assert all(check._greenlet for check in one.upstream._health_checks.values())
    one.runtime.draining = True
    one.look()
    assert not any(check._greenlet for check in one.upstream._health_checks.values())
    assert not state.is_led("probes of users")


def test_turns_are_taken_together(workers):
    one, two = workers(), workers()
    assert [worker.picks(1) for worker in (one, two, two, one, two, one)] == list("ababab")
    assert one.picks(3) + two.picks(3) == "ababab"
    one.runtime.unshare()
    assert one.picks(1) == "a"


def test_a_turn_goes_on_where_it_was(workers, state):
    one = workers(alone=True)
    assert one.picks(3) == "aba"
    one.runtime.share(state)
    assert workers().picks(2) == "ba"
    one.runtime.unshare()
    assert one.picks(2) == "ba"
    assert workers().picks(1) == "a"  # the memory is empty again


def test_turns_without_a_key_are_taken_together(workers):
    one, two = workers(balance="cookie_hash", hash_key="sid"), workers(balance="cookie_hash", hash_key="sid")
    assert [worker.picks(1) for worker in (one, two, two, one, two, one)] == list("ababab")
    one.runtime.unshare()
    assert one.picks(3) == "aba"
    assert workers(balance="cookie_hash", hash_key="sid").picks(1) == "a"


def test_other_policies_stay_each_workers_own(workers):
    one, two = (workers(balance="first") for _ in range(2))
    assert one.picks(2) + two.picks(2) == "aaaa"
    one.runtime.unshare()
    assert one.picks(1) == "a"


def test_without_room_turns_are_each_workers_own(workers, monkeypatch):
    monkeypatch.setattr("gproxy.state.shared.memory._SIZE", 0)
    one, two = workers(), workers()
    assert one.picks(3) + two.picks(2) == "abaab"
    one.runtime.unshare()
    assert one.picks(2) == "ba"
