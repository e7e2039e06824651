"""Our grammar held against h11's and llhttp's, on requests that are nearly right; tests/fuzz does it for longer."""

import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parents[2] / "fuzz"


@pytest.fixture(scope="module")
def oracle():
    sys.path.insert(0, str(FUZZ))
    try:
        return __import__("oracle")
    finally:
        sys.path.remove(str(FUZZ))


# Mostly what is right, so that most requests are accepted by somebody.
LINES = st.sampled_from(
    [b"GET / HTTP/1.1"] * 4
    + [b"POST /a%20b?c=d&e HTTP/1.1"] * 4
    + [b"HEAD //a/../b HTTP/1.0", b"OPTIONS * HTTP/1.1", b"GET http://h/x?y HTTP/1.1", b"get /a HTTP/1.1", b"GET /  HTTP/1.1",
       b"GET /a#b HTTP/1.1", b"GET * HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET /\tx HTTP/1.1", b"GET / HTTP/2.0", b"GET /", b"G@T / HTTP/1.1"]
)  # fmt: skip
FRAMING = st.sampled_from(
    [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"] * 4
    + [b"content-length: 005\r\n", b"Content-Length:5 \r\n", b"Transfer-Encoding: CHUNKED\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n",
       b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
       b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding : chunked\r\n",
       b"Transfer-Encoding:\x0bchunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n", b"X: y\rContent-Length: 5\r\n", b"X: y\nContent-Length: 5\r\n",
       b"Content-Length: 0\r\n", b"Content-Length: -0\r\n", b"Content-Length: 0x5\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"]
)  # fmt: skip
FIELDS = st.lists(
    st.sampled_from(
        [b"X-A: b\r\n", b"x-a:c\r\n", b"Cookie: a=b; c\r\n", b"X: \xc3\xa9 \r\n", b"Empty:\r\n", b"T:\ta\tb\t\r\n"] * 3
        + [b" folded\r\n", b"X Y: z\r\n", b"X : y\r\n", b"nocolon\r\n", b": y\r\n", b"X: \0\r\n", b"Host: b\r\n", b"(: y\r\n", b"X: a\x7f\r\n"]
    ),
    max_size=3,
).map(b"".join)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"helloGET /b HTTP/1.1\r\nHost: a\r\n\r\n", b"5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\nGET", b"0\r\n\r\nhello"] * 3
    + [b"5\nhello\n0\n\n", b"5 \r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloo\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nT : u\r\n\r\n",
       b"+5\r\nhello\r\n0\r\n\r\n", b"5;\rx\r\nhello\r\n0\r\n\r\n", b"000000000000005\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n"]
)  # fmt: skip
HOSTS = st.sampled_from([b"Host: a\r\n"] * 6 + [b"", b"Host:\r\n", b"Host: a b\r\n", b"host: [::1]:80\r\n"])
REQUESTS = st.tuples(LINES, HOSTS, FIELDS, FRAMING, BODIES).map(
    lambda parts: parts[0] + b"\r\n" + b"".join(parts[1:4]) + b"\r\n" + parts[4]
)


MEMORABLE = st.sampled_from(
    [b"Accept: a", b"Accept:  a", b"accept:a", b"ACCEPT:  a ", b"X-A: 1", b"x-a: 2", b"Cookie: a=b", b"cookie: c=d", b"Empty:", b"Blank: ",
     b"Connection: keep-alive", b"Connection: close, X-A", b"connection: te, upgrade", b"TE: trailers", b"Keep-Alive: timeout=5",
     b"Upgrade: websocket", b"Expect: 100-continue", b"Expect: else", b"Content-Length: 5", b"content-length: 5",
     b"Transfer-Encoding: chunked", b"Content_Length: 5", b"Host: b", b"Proxy-Authorization: x",
     b"X-Forwarded-For: 203.0.113.7", b"X_Forwarded_For: 1", b"Forwarded: for=1", b"X-Real-IP: 1", b"X-User: eve", b"X_User: eve",
     b"X-Never: 1", b"x.never: 1", b"X-From-Proxy: 1", b"X-Trace: t1", b"x-trace: t2", b"X_Trace: t3", b"X-Request-ID: r",
     b" folded: a", b"\tfolded: a", b"X Y: z", b"X : y", b"no colon", b": y", b"X: a\x7f", b"X: a\tb", b"X: a:  b", b"X:a: b",
     b"N\xe9: a", b"X: \xe9", b"X: a\r", b"X: a\n", b"\r", b"\n", b"", b"Hostx: a", b"Hos: t: a"]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b" \r\n", b"\t\r\n"])
BLOCKS = st.lists(st.tuples(MEMORABLE, ENDS).map(b"".join), max_size=8).map(b"".join)


WORDS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"get", b"CONNECT", b"G@T", b"", b"/", b"/a?b=c", b"*", b"http://a/b", b"a/b",
                         b"/a#b", b"/\xe9", b"/a\tb", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b" "])  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(WORDS, max_size=5).map(b" ".join))
@example(b"GET /a?b=c HTTP/1.1")
@example(b"GET / HTTP/1.0 HTTP/1.1")
def test_request_lines_read_the_same_without_a_match(oracle, line):
    assert oracle.changed_by_memory(line + b"\r\nHost: a\r\n\r\n") == ""


@settings(max_examples=1000)
@given(BLOCKS)
@example(b"Connection: X-Trace\r\nX-Trace: t\r\n")
def test_what_is_remembered_of_names_changes_nothing(oracle, block):
    assert oracle.changed_by_memory(b"GET / HTTP/1.1\r\nHost: a\r\n" + block + b"\r\n") == ""


@given(REQUESTS)
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET")
def test_parsers_that_accept_a_request_read_it_alike(oracle, data):
    assert oracle.disagreement(data) == ""


@given(
    REQUESTS,
    st.integers(0, 200),
    st.sampled_from([b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x0b", b"\xa0", b"0", b"\r\n"]),
)
def test_one_odd_byte_changes_nothing_about_that(oracle, data, place, odd):
    place %= len(data)
    for changed in (data[:place] + odd + data[place:], data[:place] + odd + data[place + 1 :]):
        assert oracle.disagreement(changed) == ""


def test_enough_of_them_are_accepted(oracle):
    """Else the two tests above would say nothing."""
    accepted = []

    @settings(derandomize=True, database=None)
    @given(REQUESTS)
    def count(data):
        accepted.append(oracle.ours(data) is not None)

    count()
    assert sum(accepted) > len(accepted) // 20
