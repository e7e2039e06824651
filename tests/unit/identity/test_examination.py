"""Checks of a credential as people read them: expected beside found, short, on one line."""

import pytest

from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.examination import LONGEST, Check, beside, checked, first_failure, lines, shown, summary


@pytest.mark.parametrize(
    ("expected", "found", "text"),
    [
        (["https://a"], None, "expected 'https://a'; found none"),
        (["https://a"], "https://a/", "expected 'https://a'; found 'https://a/' (differs by a trailing slash)"),
        (["https://a/"], "https://a", "expected 'https://a/'; found 'https://a' (differs by a trailing slash)"),
        (["API"], "api", "expected 'API'; found 'api' (differs by upper and lower case)"),
        (["api"], " api", "expected 'api'; found ' api' (differs by blanks at an end)"),
        (["https://a"], "http://a", "expected 'https://a'; found 'http://a' (differs by http and https)"),
        (["https://a"], "HTTPS://A/", "expected 'https://a'; found 'HTTPS://A/' (differs by upper and lower case, blanks or a slash)"),
        (["a", "b"], ["x", "B"], "expected 'a' or 'b'; found 'x', 'B' (differs by upper and lower case)"),
        (["a"], "other", "expected 'a'; found 'other'"),
        (["a"], 7, "expected 'a'; found 7"),
        (["a"], {"a": 1}, "expected 'a'; found {'a': 1}"),
    ],
)  # fmt: skip
def test_expected_stands_beside_found(expected, found, text):
    assert beside(expected, found) == text


@pytest.mark.parametrize("value", ["a\nb\x1b[2J\u2028\ud800", ["a\n", "\x00"], {"\n": "\x07"}])
def test_a_shown_value_is_one_printable_line(value):
    assert shown(value).isprintable()


def test_a_shown_value_is_short():
    assert shown("x" * 1000) == "'" + "x" * (LONGEST - 2) + "…"
    assert len(shown(["y" * 150, "z" * 150])) == LONGEST
    assert len(beside(["x" * 1000], "y" * 1000)) < 2 * LONGEST + 30


def raising(error):
    def test():
        raise error

    return test


def test_a_check_has_the_result_the_reason_and_the_values():
    assert checked("aud", lambda: None, "is 'x'") == Check("aud", True, "is 'x'")
    reason = Untrusted("it is meant for another audience")
    assert checked("aud", raising(reason), "found 'y'") == Check("aud", False, "found 'y'", str(reason))
    assert checked("exp", raising(Untrusted("it has expired"))) == Check("exp", False, "", "it has expired")
    unknown = checked("key", raising(Unavailable("no key set")), "kid 'k1'")
    assert unknown == Check("key", None, "not checked: no key set")


def test_the_first_failure_is_the_reason():
    checks = [Check("alg", True), Check("signature", None), Check("aud", False), Check("exp", False)]
    assert first_failure(checks) == Check("aud", False)
    assert first_failure(checks[:2]) is None


def test_each_check_is_one_line():
    checks = [
        Check("alg", True, "is RS256"),
        Check("signature", None, "not checked: no key set"),
        Check("aud", False, "found 'y'", "it is bad"),
    ]
    assert lines(checks) == [
        "alg           yes  is RS256",
        "signature     -    not checked: no key set",
        "aud           no   it is bad; found 'y'",
    ]


def test_a_summary_has_the_facts_that_there_are():
    facts = [("iss", "https://a"), ("kid", None), ("aud", ["x", "y"])]
    assert " ".join(summary(facts)) == "iss='https://a' aud='x', 'y'"
