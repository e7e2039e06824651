"""Origins of pages: what is accepted, why other texts are not, and which origins match."""

from time import process_time

import pytest

from gproxy.config.ini.convert import convert
from gproxy.config.types.origin import Origin


@pytest.mark.parametrize(
    "text",
    ["https://app.example.com", "http://localhost:3000", "http://[::1]:3000", "null", "*", "app://desktop",
     "https://*.example.com", "https://*.example.com:8443", r"~ https://[a-z]+-app\.example\.com",
     "chrome-extension://abcdefghijklmnop"],
)  # fmt: skip
def test_accepted(text):
    assert str(Origin.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("app.example.com", r"write https://app\.example\.com$"),
        ("*.example.com", r"write https://\*\.example\.com$"),
        ("https://App.example.com", r"write https://app\.example\.com$"),
        ("https://app.example.com/", r"an origin has no path; write https://app\.example\.com$"),
        ("https://app.example.com/app", r"an origin has no path; write https://app\.example\.com$"),
        ("https://app.example.com:443", r"leave out the usual port; write https://app\.example\.com$"),
        ("http://a.test:80", r"leave out the usual port; write http://a\.test$"),
        ("https://app*.example.com", "stands for names below a host"),
        ("https://*", "stands for names below a host"),
        ("https://bücher.example", "xn--"),
        ("~ https://app.example.com", r"write \\\. for a dot"),
        (r"~ /users/\d+", "every origin begins with its scheme"),
        (r"~ https://(a+)+\.example", "within a repetition the next character must decide"),
        ("~ (", "does not compile"),
        ("", "^$"),
    ],
)
def test_rejected(text, why):
    with pytest.raises(ValueError, match=why):
        Origin.parse(text)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (
            "https://*.example.com",
            ["https://a.example.com", "https://a.b-c.example.com", "https://x_1.example.com"],
            ["https://example.com", "https://.example.com", "https://evilexample.com", "http://a.example.com",
             "https://a.example.com:8443", "https://a.example.com.evil.test", "https://evil.test/.example.com",
             "https://evil.test#.example.com", "https://a@evil.test:1.example.com", "https://A.example.com",
             "https://a.example.com\n", "null"],
        ),
        ("https://*.example.com:8443", ["https://a.example.com:8443"], ["https://a.example.com"]),
        (
            r"~ https?://pr-\d{1,6}\.preview\.example\.com(:\d+)?",
            ["https://pr-12.preview.example.com", "http://pr-1.preview.example.com:8080"],
            ["https://pr-12.preview.example.com.evil.test", "xhttps://pr-12.preview.example.com", "null"],
        ),
        ("~ .*", ["https://a.example.com"], ["null", "https://" + "a" * 300]),
        ("*", ["https://a.example.com", "null"], []),
        ("null", ["null"], ["https://a.example.com"]),
    ],
)  # fmt: skip
def test_matches(pattern, matching, others):
    origin = Origin.parse(pattern)
    assert [text for text in (*matching, *others) if origin.fits(text)] == matching


def test_commas_of_a_list():
    origins = convert(tuple[Origin, ...], r"https://a.test,~ https://b{1,2}\.test, null", pytest.fail)
    assert [origin.text for origin in origins] == ["https://a.test", r"~ https://b{1,2}\.test", "null"]


@pytest.mark.parametrize("text", ["*", "null", "~ .*", "~ https?://.*", r"~ http://\w+\.invalid"])
def test_what_any_site_can_have(text):
    assert Origin.parse(text).admits_anyone
    assert not Origin.parse("https://*.example.com").admits_anyone


@pytest.mark.parametrize("text", ["https://*.example.com", r"~ https://.*\.example\.com", "~ [a-z:/.]*x"])
def test_a_long_origin_costs_no_time(text):
    origin = Origin.parse(text)
    started = process_time()
    for _ in range(100):
        assert not origin.fits("https://" + ".example.co" * 100_000)
        assert not origin.fits("https://" + ".example.co" * 26)
    assert process_time() - started < 0.5
