"""Patterns of paths: which are accepted, why others are not, and that a match is bounded."""

import re
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.ini.convert import convert
from gproxy.config.types.path_pattern import RoutePath, compiled_path

LONGEST = 2048


@pytest.mark.parametrize(
    "text",
    [r"/v[12]/users/\d+", r"^/users/[0-9]+$", r"/(?P<lang>[a-z]{2})(?:/[^/]+)*/?", r".*\.(?:jpe?g|png|css|csv|woff2?)",
     r"/[^/]+/x/.*\.json", "(?i)/Users", "/a?b", "/(?:ab|cd)*x", "/[^/]++/x", r"/\d{4}-\d\d/.+", ".*", r"/\w+\b",
     "/(?>a|b)c", r"/[\w-]{1,63}\.html", "/(?:/a|/ab)*", "/(?:a{2})+", r"^/(\d+)/?(.*)$", r"/\w+(?:/\d*)?.*?", r"/a{0,30}a{0,30}a*(.*)"],
)  # fmt: skip
def test_accepted(text):
    assert str(RoutePath.parse(f"~ {text}")) == f"~ {text}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/(", r"does not compile: missing \)"),
        ("/a{9999999999999}", "does not compile: the repetition number is too large"),
        ("users/.*", "every path starts with '/'"),
        ("", "every path starts with '/'"),
        ("/ü", "only ASCII"),
        ("/(?!admin).*", r"\(\?!…\), .* not allowed"),
        ("/(?<=a)b", "not allowed"),
        (r"/(a)\1", "a reference to a group is not allowed"),
        (r"/(a)?(?(1)b|c)", "a reference to a group is not allowed"),
        ("/(?i:a)", "flags are allowed only at the beginning"),
        *((text, "within a repetition the next character must decide") for text in (
            "/(a+)+", "/(a*)*", "/(a|a?)+", "/(x+x+)+y", "/(?:a?){20}", "/(.*/)*", "/([^/]+|a/)*",
            r"/(?:\w+\d?)+", "(?i)/(a+A)+", "/(?:a|ab|b)*",
        )),
        *((text, "must end at a character that it cannot match") for text in (
            "/.*/x/.*", "/a*a*b", "/.*?/.*", r"/\w+\d+", r"/.*[^/]*x", "/(?:ab)*a.*", r"/\w*a*.*\b", "/a*b*$/?.*", "/a*a*.*x", "/a*a*(?:.*/)?", "/a*a*.+",
        )),
        *((text, "too many choices") for text in (
            "/a{0,30}a{0,30}a{0,30}", "/.*[a-z]{1,300}", "/" + "a?" * 10 + "b", "/" + "(a|ab|b)" * 9,
        )),
    ],
)  # fmt: skip
def test_rejected(text, why):
    with pytest.raises(ValueError, match=why):
        RoutePath.parse(f"~{text}")


def test_no_character_leads_around_a_pattern():
    assert compiled_path("/admin/.*").fullmatch("/admin/\n")
    assert compiled_path(r"/admin/\d+$").fullmatch("/admin/1\n") is None
    assert compiled_path(r"/\w+").fullmatch("/\u00e9") is None
    assert compiled_path(r"/[^/]+").fullmatch("/\u00e9\x85")


def test_commas_of_a_list():
    paths = convert(tuple[RoutePath, ...], "/users, /a,b,~ /v\\d{1,3}/x, /y\n~ /z[,;]\n/last,", pytest.fail)
    assert [path.text for path in paths] == ["/users", "/a,b", "~ /v\\d{1,3}/x", "/y", "~ /z[,;]", "/last"]


PIECES = ["/", "a", "b", "ab", "[ab]", "[^/]", ".", r"\d", r"\w", "/x"]
REPEATS = ["", "", "", "*", "+", "?", "{1,3}", "*?", "++"]


def expressions():
    atoms = st.tuples(st.sampled_from(PIECES), st.sampled_from(REPEATS)).map("".join)
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map("".join),
            st.tuples(st.lists(inner, min_size=1, max_size=3).map("|".join), st.sampled_from(REPEATS)).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=8,
    )


@given(
    expressions(), st.sampled_from(["a", "ab", "/a", "/x", "aab/", "1", "a/b"]), st.sampled_from(["", "/", "!", "\n"])
)
def test_the_time_of_a_match_is_bounded(text, piece, end):
    """Without the check, one in a hundred of these expressions takes more than a second."""
    try:
        pattern = compiled_path(f"/{text}")
    except ValueError:
        return
    path = ("/" + piece * LONGEST)[: LONGEST - 1] + end
    started = process_time()
    pattern.fullmatch(path)
    assert process_time() - started < 0.2


def test_the_check_tells_slow_expressions_from_fast_ones():
    slow = "/(?:a|b|ab)*c"
    started = process_time()
    re.compile(slow).fullmatch("/" + "ab" * 20)
    assert process_time() - started > 0.01, "exponential, as Python's re is"
    with pytest.raises(ValueError, match="within a repetition"):
        compiled_path(slow)
