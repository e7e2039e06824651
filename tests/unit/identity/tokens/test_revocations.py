from pathlib import Path

import pytest

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens.revocations import Revocations, parse_revocations

FILE = Path("etc/revoked")
TEXT = b"""\
# Tokens that were lost.
jti 4f1c2a90
jti a b
jti 20261129

; Users who have left.
sub alice
sub 42
sub bob before 2026-11-29
sub\tcarol   before 2026-11-29T12:00:00+01:00
sub dave before breakfast before 2026-11-29T12:00:00Z
kid 2026-10
"""
DAY = 1795910400  # 2026-11-29T00:00:00Z


def revoked():
    return parse_revocations(FILE, TEXT)


@pytest.mark.parametrize(
    ("claims", "kid"),
    [
        ({"jti": "4f1c2a90"}, None),
        ({"jti": "a b"}, None),
        ({"jti": 20261129}, None),
        ({"sub": 42}, None),
        ({"sub": "alice"}, None),
        ({"sub": "alice", "iat": DAY * 2}, None),
        ({"sub": "bob", "iat": DAY - 1}, None),
        ({"sub": "bob", "iat": "now"}, None),
        ({"sub": "bob"}, None),
        ({"sub": "carol", "iat": DAY + 11 * 3600 - 1}, None),
        ({"sub": "dave before breakfast", "iat": DAY}, None),
        ({"sub": "eve"}, "2026-10"),
    ],
)
def test_revoked_tokens(claims, kid):
    with pytest.raises(Untrusted, match=r"^it is revoked$"):
        revoked().check(claims, kid)


@pytest.mark.parametrize(
    ("claims", "kid"),
    [
        ({}, None),
        ({"jti": "4f1c2a9"}, None),
        ({"jti": ["4f1c2a90"]}, None),
        ({"jti": 7}, None),
        ({"sub": "Alice"}, None),
        ({"sub": ["alice"]}, None),
        ({"sub": "bob", "iat": DAY}, None),
        ({"sub": "carol", "iat": DAY + 11 * 3600}, None),
        ({"sub": "eve", "jti": "alice"}, "4f1c2a90"),
    ],
)
def test_other_tokens(claims, kid):
    revoked().check(claims, kid)


def test_the_later_revocation_of_a_subject_counts():
    for lines in (b"sub a before 2026-01-01\nsub a", b"sub a\nsub a before 2026-01-01"):
        assert parse_revocations(FILE, lines).revokes({"sub": "a", "iat": DAY}, None)


def test_nothing_is_revoked_by_an_empty_file():
    assert parse_revocations(FILE, b"") == Revocations()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"4f1c2a90", "expected jti VALUE, sub VALUE [before DATE], or kid VALUE"),
        (b"jti", "expected jti VALUE"),
        (b"jti ", "expected jti VALUE"),
        (b"user alice", "expected jti VALUE"),
        (b"sub alice before now", "'now' is no date; expected one such as 2026-11-29"),
        (b"sub alice before 2026-13-01", "'2026-13-01' is no date"),
        (b"sub alice before 2026-11-29T12:00:00", "'2026-11-29T12:00:00' has no time zone"),
        (b"jti \xff", "the content is not UTF-8 text"),
    ],
)
def test_wrong_lines(line, problem):
    with pytest.raises(ValueError) as caught:
        parse_revocations(FILE, b"\n" + line + b"\njti 1\n")
    assert str(caught.value).startswith(f"etc/revoked:2: {problem}")


def test_all_wrong_lines_are_reported():
    with pytest.raises(ValueError, match=r"^etc/revoked:1: .*\netc/revoked:3: "):
        parse_revocations(FILE, b"x\njti 1\ny\n")
