from dataclasses import dataclass

import pytest

from gproxy.identity import credential_cache
from gproxy.identity.credential_cache import CredentialCache

NOW = 1_000_000.0


@dataclass
class Judged:
    expires: float = NOW + 3600
    size: int = 100
    check: object = None
    recent_until: float = 0.0


def filled(entries, *names):
    cache = CredentialCache(entries)
    for name in names:
        cache.keep(name, Judged(), NOW)
    return cache


def found(cache, names, now=NOW):
    return "".join(name for name in names if cache.find(name, name, now))


def test_the_least_recently_used_goes_first():
    cache = filled(3, *"abc")
    assert found(cache, "a") == "a"
    cache.keep("d", Judged(), NOW)
    assert len(cache) == 3
    assert found(cache, "abcd") == "acd"


def test_no_text_is_kept_of_a_credential_with_a_condition_or_where_none_may_stay():
    cache = filled(10, "a")
    assert cache.find("", "a", NOW)
    cache.keep("b", Judged(check=lambda _: None), NOW)
    assert cache.find("Bearer b", "b", NOW)
    assert cache.recent == {}


def test_a_text_is_kept_from_the_second_use_on():
    cache = filled(10, "a")
    assert cache.recent == {}
    judged = cache.find("Bearer a", "a", NOW)
    assert cache.recent == {"Bearer a": judged}
    assert judged.recent_until == NOW + credential_cache.TURN


def test_a_text_counts_no_longer_than_its_credential():
    cache = CredentialCache(10)
    cache.keep("a", Judged(NOW + 5), NOW)
    assert cache.find("a", "a", NOW + 4).recent_until == NOW + 5
    assert cache.find("a", "a", NOW + 5) is None


def test_after_a_minute_only_texts_in_use_return_and_what_has_expired_is_gone():
    cache = filled(10, "a", "b")
    cache.keep("c", Judged(NOW + 30), NOW)
    assert found(cache, "abc") == "abc"
    cache.find("a", "a", NOW + 59)
    assert (set(cache.recent), len(cache)) == (set("abc"), 3)
    cache.find("a", "a", NOW + 60)
    assert (set(cache.recent), len(cache)) == ({"a"}, 2)


def test_a_clock_that_is_set_back_begins_another_minute():
    cache = filled(10, "a", "b")
    assert found(cache, "ab") == "ab"
    cache.find("a", "a", NOW - 3600)
    assert set(cache.recent) == {"a"}
    assert cache.recent["a"].recent_until == NOW - 3600 + credential_cache.TURN


def test_new_credentials_alone_drop_what_has_expired():
    cache = CredentialCache(10)
    cache.keep("a", Judged(NOW + 30), NOW)
    cache.keep("b", Judged(), NOW + 60)
    assert len(cache) == 1


def test_a_credential_that_was_judged_again_replaces_the_old_verdict(monkeypatch):
    monkeypatch.setattr(credential_cache, "BYTES", 250)
    cache = CredentialCache(10)
    for expires in (NOW + 5, NOW + 20, NOW + 40):
        cache.keep("a", Judged(expires), NOW)
    cache.keep("b", Judged(), NOW)
    assert cache.find("a", "a", NOW + 39).expires == NOW + 40
    assert found(cache, "ab") == "ab"  # the bytes are counted once


def test_texts_are_half_as_many():
    cache = filled(8, *"abcdefgh")
    for name in "abcdefgh":
        cache.find(name, name, NOW)
        assert len(cache.recent) <= 4
    assert found(cache, "abcdefgh") == "abcdefgh"


def test_the_bytes_are_bounded(monkeypatch):
    monkeypatch.setattr(credential_cache, "BYTES", 1000)
    cache = filled(100, *"abcdefghijklm")
    assert len(cache) == 10
    assert found(cache, "abcdefghijklm") == "defghijklm"
    cache.keep("large", Judged(size=950), NOW)
    assert len(cache) == 1
    cache.keep("too large", Judged(size=1001), NOW)
    assert len(cache) == 0
    cache.keep("n", Judged(), NOW)
    for blanks in range(100):
        cache.find(f"Bearer {' ' * blanks}n", "n", NOW)
        assert sum(map(len, cache.recent)) <= 500


@pytest.mark.parametrize("expires", [NOW - 1, NOW])
def test_what_has_expired_is_not_kept(expires):
    cache = CredentialCache(10)
    cache.keep("a", Judged(expires), NOW)
    assert len(cache) == 0


def test_no_entries():
    assert len(filled(0, "a")) == 0
