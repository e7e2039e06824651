"""Look-ups that are kept: one call for each key, stale results, and who ends what."""

from dataclasses import dataclass

import gevent
import pytest

from gproxy import HTTPError
from gproxy.state.cached import cached, use_clock
from gproxy.testing import Clock


@pytest.fixture(autouse=True)
def clock():
    made = Clock()
    use_clock(made)
    yield made
    import time

    use_clock(time.monotonic)


class Source:
    """A function that answers with the number of its call, or fails."""

    def __init__(self):
        self.calls = []
        self.fails = False
        self.go = gevent.event.Event()
        self.go.set()

    def __call__(self, *key, **options):
        self.calls.append(key)
        number = len(self.calls)
        self.go.wait()
        if self.fails:
            raise KeyError(number)
        return number


@pytest.fixture
def source():
    return Source()


def test_two_hundred_at_once_make_one_call(source):
    look = cached()(source)
    source.go.clear()
    jobs = [gevent.spawn(look, "a") for _ in range(200)]
    gevent.sleep(0)
    source.go.set()
    gevent.joinall(jobs, raise_error=True)
    assert ({job.value for job in jobs}, source.calls) == ({1}, [("a",)])


def test_a_result_is_kept_for_its_time_and_by_its_arguments(source, clock):
    look = cached(ttl="30s")(source)
    assert [look("a"), look("a"), look("b"), look("a", of=1), look("a", of=1), look("a")] == [1, 1, 2, 3, 3, 1]
    clock.advance(29)
    assert look("a") == 1
    clock.advance(1)
    assert look("a") == 4


def test_a_failing_source_gives_the_stale_result_then_its_error(source, clock, caplog):
    look = cached(ttl=30, stale="10m")(source)
    assert look("a") == 1
    source.fails = True
    clock.advance(31)
    assert [look("a"), look("a")] == [1, 1]
    [line] = [record.getMessage() for record in caplog.records]
    assert line.endswith("fails: KeyError 2; the last result stands in")
    clock.advance(599)
    for number in (4, 5):
        with pytest.raises(KeyError, match=str(number)):
            look("a")
    source.fails = False
    assert look("a") == 6


@pytest.mark.parametrize(
    ("key", "error", "found"),
    [
        (("t",), HTTPError(503, "the flags are not known"), "HTTPError 503 the flags are not known"),
        (("secret-token",), KeyError("secret-token"), "KeyError"),
        (("user", ("token", "abc")), ValueError("no user for abc"), "ValueError"),
        ((b"abc",), ValueError("not abc"), "ValueError"),
        (("a",), ValueError("what is wrong\nmore"), "ValueError what is wrong"),
        ((), TimeoutError(), "TimeoutError"),
    ],
)
def test_the_log_says_why_a_call_fails_without_its_arguments(key, error, found, clock, caplog):
    @cached(ttl=1, stale=1)
    def look(*key):
        if fails:
            raise error
        return 1

    fails = True
    for _ in range(2):
        with pytest.raises(type(error)):
            look(*key)
    fails = False
    look(*key)
    clock.advance(3)
    fails = True
    with pytest.raises(type(error)):
        look(*key)
    first, second = (record.getMessage().partition(" fails: ")[2] for record in caplog.records)
    assert (first, second) == (
        f"{found}; there is no earlier result",
        f"{found}; the last result is too old to stand in",
    )


def test_without_a_result_all_that_wait_get_the_error(source):
    look = cached()(source)
    source.fails = True
    source.go.clear()
    jobs = [gevent.spawn(pytest.raises, KeyError, look, "a") for _ in range(3)]
    gevent.sleep(0)
    source.go.set()
    gevent.joinall(jobs, raise_error=True)
    assert len(source.calls) == 1


def test_the_first_that_leaves_does_not_end_the_call(source):
    look = cached()(source)
    source.go.clear()
    first, second = gevent.spawn(look, "a"), gevent.spawn(look, "a")
    gevent.sleep(0)
    first.kill()
    with gevent.Timeout(0.01, False):
        look("a")
    source.go.set()
    assert (second.get(), len(source.calls)) == (1, 1)


def test_what_was_not_used_for_longest_leaves(source):
    look = cached(max=2)(source)
    assert [look("a"), look("b"), look("a"), look("c"), look("a"), look("b")] == [1, 2, 1, 3, 1, 4]


def test_each_object_has_results_of_its_own():
    @dataclass
    class Plans:
        prefix: str

        @cached(ttl="1m")
        def plan(self, tenant):
            calls.append(tenant)
            return f"{self.prefix} {tenant}"

    calls = []
    one, two = Plans("one"), Plans("two")
    assert [one.plan("a"), one.plan("a"), two.plan("a")] == ["one a", "one a", "two a"]
    assert (calls, one == Plans("one"), getattr(Plans.plan, "__name__", "")) == (["a", "a"], True, "plan")


def test_forgotten_results_are_looked_up_again_also_those_under_way(source):
    look = cached()(source)
    look("a")
    look.clear()
    assert look("a") == 2
    source.go.clear()
    old = gevent.spawn(look, "b")
    gevent.sleep(0)
    look.clear()
    source.go.set()
    assert (old.get(), look("b")) == (3, 4)


@pytest.mark.parametrize("options", [{"ttl": "30"}, {"stale": "x"}, {"timeout": "x"}, {"max": 0}])
def test_a_bad_option_is_said_when_the_module_is_imported(options):
    with pytest.raises(ValueError):
        cached(**options)


def test_no_more_calls_run_than_results_are_kept(source, clock):
    look = cached(ttl="30s", max=2)(source)
    assert look("old") == 1
    clock.advance(31)
    source.go.clear()
    jobs = [gevent.spawn(look, key) for key in "ab"]
    gevent.sleep(0)
    assert look("old") == 1
    look.clear()
    with pytest.raises(RuntimeError, match=r"2 calls of .* run already"):
        look("c")
    source.go.set()
    gevent.joinall(jobs, raise_error=True)
    assert look("c") == 4


def test_a_call_that_never_ends_is_ended_and_the_next_begins_anew(source):
    look = cached(timeout=0.02)(source)
    source.go.clear()
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.02 s"):
        look("a")
    source.go.set()
    assert look("a") == 2
