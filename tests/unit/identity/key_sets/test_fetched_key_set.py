"""A key set that is fetched: when it is fetched, who waits for it, and what a failure changes."""

import random

import gevent
import pytest

from gproxy.http.deadline import Deadline
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets import fetched_key_set
from gproxy.identity.key_sets.fetched_key_set import TURN, FetchedKeySet
from gproxy.runtime import Runtime
from gproxy.testing import Clock
from unit.identity.issuing import AUTO, FakeIssuer, ids


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def issuer():
    return FakeIssuer("k1")


@pytest.fixture
def live(clock, issuer):
    runtime = Runtime(monotonic=clock, rng=random.Random(1))
    live = FetchedKeySet("https://id.example.com", runtime, issuer, issuer.kept.append)
    live.refresh_every(300)
    yield live
    live.stop()


@pytest.fixture
def trusted(live):
    return live.trust(AUTO, 86_400)


def test_pauses_after_success_are_the_refresh_time_give_or_take_a_tenth(live):
    pauses = [live.step() for _ in range(200)]
    assert 270 <= min(pauses) < 275
    assert 325 < max(pauses) <= 330


def test_pauses_after_failures_double_from_1_s_to_60_s(live, issuer, monkeypatch):
    monkeypatch.setattr(fetched_key_set, "_JITTER", 0)
    issuer.error = "status 500"
    assert [live.step() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    issuer.error = ""
    assert live.step() == 300
    issuer.error = "status 500"
    assert live.step() == 1


def test_the_shortest_refresh_time_counts(live, monkeypatch):
    monkeypatch.setattr(fetched_key_set, "_JITTER", 0)
    live.refresh_every(600)
    assert live.step() == 300
    live.refresh_every(10)
    assert live.step() == 10


def test_an_old_set_serves_while_fetches_fail(live, trusted, issuer, clock):
    live.step()
    issuer.error = "no answer within 5 s"
    clock.advance(300)
    live.step()
    assert ids(trusted.find("k1", "ES256")) == ["k1"]
    assert live.snapshot() == {
        "name": "https://id.example.com", "state": "stale", "age": 300, "count": 1, "last_error": "no answer within 5 s",
    }  # fmt: skip
    assert live.fetches == {"ok": 1, "failed": 1}
    issuer.error = ""
    live.step()
    assert (live.state, live.age, live.last_error) == ("fresh", 0, "")


def test_an_unexpected_exception_is_a_failure(live, trusted, issuer):
    issuer.before = lambda: 1 / 0
    live.step()
    assert (live.state, live.last_error) == ("missing", "ZeroDivisionError")


def test_a_set_that_cannot_be_kept_serves_and_ends_nothing(issuer, caplog):
    def keep(_data):
        raise RuntimeError("full")

    live = FetchedKeySet("https://id.example.com", Runtime(), issuer, keep)
    live.refresh_every(300)
    trusted = live.trust(AUTO, 86_400)
    live.start()
    live.settled.wait()
    assert ids(trusted.find("k1", "ES256")) == ["k1"]
    issuer.kids = ("k1", "k2")
    assert ids(trusted.find("k2", "ES256")) == ["k2"]
    assert caplog.text.count("RuntimeError: full") == 2
    live.stop()


def test_each_good_set_is_kept(live, issuer):
    live.step()
    issuer.error = "status 500"
    live.step()
    assert len(issuer.kept) == 1


def test_an_unknown_key_is_fetched_now(live, trusted, issuer):
    live.start()
    live.settled.wait()
    issuer.kids = ("k1", "k2")
    assert ids(trusted.find("k2", "ES256")) == ["k2"]
    assert issuer.fetches == 2


def test_all_who_need_an_unknown_key_wait_for_one_fetch(live, trusted, issuer):
    live.start()
    live.settled.wait()
    issuer.kids = ("k1", "k2")
    waiting = [gevent.spawn(trusted.find, "k2", "ES256") for _ in range(200)]
    gevent.joinall(waiting)
    assert all(ids(one.get()) == ["k2"] for one in waiting)
    assert issuer.fetches == 2


def test_a_flood_of_unknown_keys_costs_a_fetch_each_30_s(live, trusted, issuer, clock):
    live.start()
    live.settled.wait()
    for n in range(2000):
        clock.advance(60 / 2000)
        with pytest.raises(Untrusted):
            trusted.find(f"random{n}", "ES256")
    assert issuer.fetches - 1 <= 3


def test_within_the_30_s_nobody_waits_and_the_answer_follows_the_state(live, trusted, issuer, clock):
    live.start()
    live.settled.wait()
    with pytest.raises(Untrusted):
        trusted.find("k2", "ES256")
    issuer.kids = ("k1", "k2")
    clock.advance(TURN - 0.1)
    with pytest.raises(Untrusted):
        trusted.find("k2", "ES256")
    live.is_fresh = False
    with pytest.raises(Unavailable, match="stale"):
        trusted.find("k2", "ES256")
    assert issuer.fetches == 2
    clock.advance(0.1)
    assert ids(trusted.find("k2", "ES256")) == ["k2"]


def test_a_turn_counts_from_its_begin_whatever_its_result(live, trusted, issuer, clock):
    live.start()
    live.settled.wait()
    issuer.error = "status 500"
    with pytest.raises(Unavailable):
        trusted.find("k2", "ES256")
    assert issuer.fetches == 2
    issuer.error = ""
    issuer.kids = ("k1", "k2")
    clock.advance(TURN - 0.1)
    with pytest.raises(Unavailable):
        trusted.find("k2", "ES256")
    clock.advance(0.1)
    assert ids(trusted.find("k2", "ES256")) == ["k2"]


def test_a_periodic_fetch_does_not_use_up_the_turn(live, trusted, issuer):
    live.start()
    live.settled.wait()
    live.step()
    issuer.kids = ("k1", "k2")
    assert ids(trusted.find("k2", "ES256")) == ["k2"]


def test_a_request_that_waits_too_long_is_unavailable_and_a_later_one_gets_the_key(live, trusted, issuer, monkeypatch):
    monkeypatch.setattr(fetched_key_set, "WAIT", 0.05)
    live.start()
    live.settled.wait()
    go = gevent.event.Event()
    issuer.before = go.wait
    issuer.kids = ("k1", "k2")
    for _ in range(2):
        with pytest.raises(Unavailable, match="are being fetched"):
            trusted.find("k2", "ES256")
    monkeypatch.setattr(fetched_key_set, "WAIT", 5)
    waiting = gevent.spawn(trusted.find, "k2", "ES256")
    gevent.sleep(0)
    go.set()
    assert ids(waiting.get()) == ["k2"]
    assert issuer.fetches == 2


def test_a_known_key_is_found_while_a_fetch_hangs(live, trusted, issuer):
    live.start()
    live.settled.wait()
    issuer.before = gevent.event.Event().wait
    gevent.spawn(trusted.find, "k2", "ES256")
    gevent.sleep(0)
    assert ids(trusted.find("k1", "ES256")) == ["k1"]


def test_a_request_never_waits_past_its_deadline(live, trusted, issuer, clock):
    live.start()
    live.settled.wait()
    issuer.before = gevent.event.Event().wait
    deadline = Deadline(clock=clock)
    deadline.set(clock() - 1)
    with gevent.Timeout(0.9), pytest.raises(Unavailable):
        trusted.find("k2", "ES256", deadline)


def test_a_fetch_that_began_before_is_not_the_answer(live, trusted, issuer):
    """The issuer may have answered it before it published the key."""
    go = gevent.event.Event()
    issuer.before = go.wait
    live.start()
    gevent.sleep(0)
    assert issuer.fetches == 1
    waiting = gevent.spawn(trusted.find, "k2", "ES256")
    gevent.sleep(0)
    issuer.before = lambda: setattr(issuer, "kids", ("k1", "k2"))
    go.set()
    assert ids(waiting.get()) == ["k2"]
    assert issuer.fetches == 2


def test_a_missing_set_is_fetched_for_a_request(live, trusted, issuer):
    issuer.error = "status 500"
    live.start()
    live.settled.wait()
    issuer.error = ""
    assert ids(trusted.find("k1", "ES256")) == ["k1"]


def test_keys_end_when_they_are_too_old_though_nothing_else_happens(issuer):
    gone = []
    live = FetchedKeySet("https://id.example.com", Runtime(), issuer, issuer.kept.append)
    live.refresh_every(300)
    live.trust(AUTO, 0.05, lambda keys: gone.append(ids(keys)))
    live.start()
    live.settled.wait()
    with gevent.Timeout(5):
        while not gone:
            gevent.sleep(0.01)
    assert live.state == "missing"
    live.stop()


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]


def test_a_failure_and_a_recovery_are_one_line_each(live, issuer, clock, caplog):
    caplog.set_level("INFO", "gproxy")
    live.step()
    issuer.error = "status 500"
    for _ in range(5):
        live.step()
    issuer.error = ""
    live.step()
    assert messages(caplog) == [
        "keys of https://id.example.com: +k1",
        "keys of https://id.example.com cannot be fetched: status 500; the last keys stay in use",
        "keys of https://id.example.com: fetched again after 5 failures",
    ]


def test_another_reason_is_logged_and_the_same_one_every_ten_minutes(live, issuer, clock, caplog):
    caplog.set_level("INFO", "gproxy")
    issuer.error = "status 500"
    live.step()
    issuer.error = "status 503"
    live.step()
    clock.advance(599)
    live.step()
    clock.advance(1)
    live.step()
    assert [line.rpartition(": ")[2] for line in messages(caplog)] == ["status 500", "status 503", "status 503"]


def test_reasons_that_never_repeat_are_few_lines(live, issuer, clock, caplog):
    for n in range(1200):
        issuer.error = f"key {n} is malformed"
        live.step()
        clock.advance(1)
    assert [line.split(" ")[7] for line in messages(caplog)] == [
        str(n) for n in (0, 1, 2, 3, 4, 600, 601, 602, 603, 604)
    ]
    assert live.last_error == "key 1199 is malformed"


def test_reasons_that_alternate_are_one_line_each(live, issuer, caplog):
    for n in range(20):
        issuer.error = ("status 502", "status 503")[n % 2]
        live.step()
    assert len(messages(caplog)) == 2
