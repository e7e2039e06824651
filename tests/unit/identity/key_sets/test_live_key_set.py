"""A key set in use: what handlers may use of it, and what ends when it changes or gets old."""

import math

import pytest

from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets.key_set import KeySet
from gproxy.identity.key_sets.live_key_set import LiveKeySet
from gproxy.testing import Clock
from unit.identity.issuing import AUTO, ids, published


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def live(clock):
    return LiveKeySet("https://id.example.com/keys", clock)


def take(live, *kids, fetched=None):
    previous = live.keys.keys if live.keys else ()
    live.take(KeySet.parse(published(*kids), previous), live.monotonic() if fetched is None else fetched)
    live.is_fresh = True


def test_a_known_key_is_found(live):
    trusted = live.trust(AUTO, 100)
    take(live, "k1", "k2")
    assert ids(trusted.find("k1", "ES256")) == ["k1"]
    assert ids(trusted.find(None, "ES256")) == ["k1", "k2"]
    assert (live.state, live.count, live.age) == ("fresh", 2, 0.0)


def test_an_unknown_key_is_untrusted_if_the_set_is_fresh(live):
    trusted = live.trust(AUTO, 100)
    take(live, "k1")
    with pytest.raises(Untrusted, match="its key is unknown") as caught:
        trusted.find("k2", "ES256")
    assert not caught.value.lasting


def test_an_unknown_key_is_unavailable_if_the_set_is_stale(live):
    trusted = live.trust(AUTO, 100)
    take(live, "k1")
    live.is_fresh, live.last_error = False, "status 500"
    with pytest.raises(Unavailable, match=r"keys of https://id.example.com/keys are stale: status 500"):
        trusted.find("k2", "ES256")
    assert ids(trusted.find("k1", "ES256")) == ["k1"]
    assert live.state == "stale"


def test_a_missing_set_is_unavailable(live):
    trusted = live.trust(AUTO, 100)
    with pytest.raises(Unavailable, match="are missing"):
        trusted.find("k1", "ES256")
    assert (live.state, live.count, live.age) == ("missing", 0, None)


def test_a_known_key_of_another_algorithm_is_untrusted_without_asking(live):
    trusted = live.trust(AUTO, 100)
    take(live, "k1")
    live.ask = lambda deadline: pytest.fail("the issuer was asked")
    for algorithm in ("RS256", "EdDSA", "HS256", "none"):
        with pytest.raises(Untrusted, match="for another algorithm"):
            trusted.find("k1", algorithm)


def test_withdrawn_keys_are_announced_at_once_and_others_stay(live):
    gone = []
    trusted = live.trust(AUTO, 100, lambda keys: gone.append(ids(keys)))
    take(live, "k1", "k2")
    (kept,) = trusted.find("k2", "ES256")
    take(live, "k2", "k3")
    assert gone == [["k1"]]
    assert trusted.find("k2", "ES256") == (kept,)


def test_a_handler_that_fails_keeps_withdrawn_keys_from_no_other(live, caplog):
    gone = []

    def fail(_keys):
        raise RuntimeError("broken")

    broken, sound = live.trust(AUTO, 100, fail), live.trust(AUTO, 100, lambda keys: gone.append(ids(keys)))
    take(live, "k1", "k2")
    take(live, "k2")
    assert gone == [["k1"]]
    assert [ids(trusted.keys) for trusted in (broken, sound)] == [["k2"], ["k2"]]
    assert "verdicts of withdrawn keys cannot be dropped" in caplog.text


def test_a_key_that_becomes_ambiguous_is_withdrawn(live):
    gone = []
    live.trust(AUTO, 100, lambda keys: gone.append(ids(keys)))
    take(live, "k1", "k2")
    from gproxy.testing.issuer import SigningKey

    double = KeySet.parse(published("k1", "k2"), live.keys.keys).keys
    double += KeySet.parse(
        b'{"keys": [%s]}' % __import__("json").dumps(SigningKey.new("k1", "ES256").public).encode()
    ).keys
    live.take(KeySet(double), live.monotonic())
    assert gone == [["k1"]]


def test_each_handler_has_its_algorithms_and_its_time(live, clock):
    gone = []
    short = live.trust(AUTO, 10, lambda keys: gone.append("short"))
    long = live.trust(AUTO, 100, lambda keys: gone.append("long"))
    none = live.trust(("RS256",), 100)
    take(live, "k1")
    assert none.keys == frozenset()
    assert live.expires == 1010
    clock.advance(10)
    live.expire(clock())
    assert gone == ["short"]
    assert live.expires == 1100
    with pytest.raises(Unavailable):
        short.find("k1", "ES256")
    assert ids(long.find("k1", "ES256")) == ["k1"]
    clock.advance(90)
    with pytest.raises(Unavailable):
        long.find("k1", "ES256")
    assert gone == ["short", "long"]
    assert (live.state, live.expires) == ("missing", math.inf)
    take(live, "k1")
    assert ids(short.find("k1", "ES256")) == ids(long.find("k1", "ES256")) == ["k1"]


def test_an_old_set_is_not_used_at_all(live):
    trusted = live.trust(AUTO, 100)
    take(live, "k1", fetched=live.monotonic() - 100)
    with pytest.raises(Unavailable):
        trusted.find("k1", "ES256")
    assert live.state == "missing"


def test_a_change_is_one_log_line(live, caplog):
    caplog.set_level("INFO", "gproxy")
    live.trust(AUTO, 100)
    take(live, "k1", "k2")
    take(live, "k2", "k1")
    take(live, "k2", "k4\n\x1b[0m forged")
    assert [record.getMessage() for record in caplog.records] == [
        "keys of https://id.example.com/keys: +k1 +k2",
        r"keys of https://id.example.com/keys: +k4\n\x1b[0m forged -k1",
    ]


def test_a_long_change_is_cut(live, caplog):
    caplog.set_level("INFO", "gproxy")
    take(live, *(f"k{n}" for n in range(15)))
    assert caplog.records[0].getMessage().endswith("+k8 +k9 and 5 more")
