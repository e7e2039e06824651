"""API keys: their form, and what is known of one."""

import re
from datetime import UTC, date, datetime
from ipaddress import ip_network
from math import inf
from string import ascii_lowercase, ascii_uppercase, digits
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.identity.errors import Untrusted
from gproxy.identity.secrets.api_keys import APIKey, check_form, hash_of, new_key, parse_hash, parse_moment
from gproxy.testing import request

NOW = 1_800_000_000.0


def test_a_new_key_has_forty_random_signs_and_a_checksum():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch("gk_[0-9A-Za-z]{46}", key) for key in keys)
    for key in keys:
        check_form(key)


@given(st.integers(3, 48), st.sampled_from("0123456789ABCXYZabcxyz"))
def test_one_wrong_sign_is_noticed(place, sign):
    key = with_checksum("gk_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd")
    changed = key[:place] + sign + key[place + 1 :]
    if changed != key:
        with pytest.raises(Untrusted, match="it is mistyped"):
            check_form(changed)


def with_checksum(text):
    """Return the key with these random signs and its checksum, a CRC-32 in base62."""
    number, signs = crc32(text.encode()), ""
    for _ in range(6):
        number, sign = divmod(number, 62)
        signs = (digits + ascii_uppercase + ascii_lowercase)[sign] + signs
    return text + signs


def test_the_checksum_never_changes():
    """Keys that were handed out stay good in later versions."""
    key = "gk_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"
    assert with_checksum(key) == key + "0J0jeO"
    check_form(key + "0J0jeO")


@pytest.mark.parametrize("key", ["gk_", "gk_short", "gk_" + "a" * 47, "gk_" + "é" * 46, "gk_" + " " * 46])
def test_other_texts_with_the_prefix_are_mistyped_keys(key):
    with pytest.raises(Untrusted, match="it is mistyped"):
        check_form(key)


def test_foreign_keys_have_twenty_signs_or_more():
    check_form("a" * 20)
    check_form("schlüssel" * 3)
    with pytest.raises(Untrusted, match="it is too short"):
        check_form("a" * 19)


def test_a_hash():
    text = hash_of("abc")
    assert text == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert parse_hash(text.upper()) == text
    assert hash_of("\udc80")  # bytes of a header that are not UTF-8


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "a" * 63, "md5:" + "a" * 64, "gk_secret"])
def test_the_error_of_a_bad_hash_does_not_show_it(text):
    with pytest.raises(ValueError, match=r"^expected sha256: and 64 hexadecimal digits") as error:
        parse_hash(text)
    assert not text or text not in str(error.value).replace("sha256: and", "")


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:30:00Z", datetime(2027, 1, 31, 12, 30, tzinfo=UTC)),
        ("2027-01-31 12:30", datetime(2027, 1, 31, 12, 30, tzinfo=UTC)),
        ("2027-01-31T12:30:00+02:00", datetime(2027, 1, 31, 10, 30, tzinfo=UTC)),
    ],
)
def test_moments(text, when):
    assert parse_moment(text) == when.timestamp()
    with pytest.raises(ValueError, match=r"^expected a date or time such as 2027-01-31"):
        parse_moment(text + "x")


def test_the_identity_of_a_user():
    key = APIKey("acme", NOW + 9, scopes=("a", "b"), roles=("admin",), claims={"plan": "pro"})
    identity, until, check, _ = key.verified(NOW)
    assert (identity.user, identity.expires, until, check) == ("acme", NOW + 9, NOW + 9, None)
    assert (identity.scopes, identity.roles) == ({"a", "b"}, {"admin"})
    assert dict(identity.claims) == {"sub": "acme", "scope": ["a", "b"], "roles": ["admin"], "plan": "pro"}
    assert key.verified(NOW, NOW + 5).until == NOW + 5
    assert dict(APIKey("acme").verified(NOW).identity.claims) == {"sub": "acme"}


def test_keys_out_of_use():
    for key, reason in [(APIKey("a", disabled=True), "it is disabled"), (APIKey("a", NOW), "it has expired")]:
        with pytest.raises(Untrusted, match=reason):
            key.verified(NOW)


def test_a_key_for_some_networks():
    check = APIKey("a", networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))).verified(NOW).check
    for client, is_admitted in [("10.1.2.3", True), ("2001:db8::1", True), ("11.1.2.3", False), ("unix", False)]:
        asked = request()
        asked.client = client
        if is_admitted:
            check(asked)
        else:
            with pytest.raises(Untrusted, match="it may not be used from here") as error:
                check(asked)
            assert not error.value.lasting


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        (None, inf),
        (NOW, NOW),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC).timestamp()),
        (date(2027, 1, 31), datetime(2027, 1, 31, tzinfo=UTC).timestamp()),
        (datetime(2027, 1, 31, 12), datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()),
    ],
)
def test_a_key_as_a_lookup_describes_it(expires, expected):
    found = {"user": "acme", "expires": expires, "networks": "10.0.0.0/8, ::1", "scopes": ["a", "b"], "plan": 7}
    assert APIKey.of(found) == APIKey(
        "acme", expected, networks=(ip_network("10.0.0.0/8"), ip_network("::1")), scopes=("a", "b"), claims={"plan": 7}
    )
    assert APIKey.of({"user": "acme", "disabled": 1, "roles": "x, y"}) == APIKey(
        "acme", disabled=True, roles=("x", "y")
    )


@pytest.mark.parametrize("found", [{}, {"user": ""}, {"user": 7}, {"user": "a", "networks": "x"}, {"user": "a", "expires": "x"}, {"user": "a", "expires": float("nan")}, {"user": "a\nb"}])  # fmt: skip
def test_a_lookup_that_describes_no_key(found):
    with pytest.raises(ValueError, match=r"^.*$"):
        APIKey.of(found)
