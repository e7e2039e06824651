import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gproxy.http.errors import BadMessage
from gproxy.http.field_names import FieldNames
from gproxy.http.headers import Headers
from gproxy.http.wire import (
    check_beginning,
    check_first_line,
    host_of,
    parse_fields,
    parse_request_line,
    parse_response,
    readable_line,
    without_empty_lines,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", ("GET", "/", 1, "/", "", "")),
        (b"GET /a?b?c HTTP/1.0", ("GET", "/a?b?c", 0, "/a", "b?c", "")),
        (b"GET /a? HTTP/1.1", ("GET", "/a?", 1, "/a", "", "")),
        (b"OPTIONS * HTTP/1.1", ("OPTIONS", "*", 1, "*", "", "")),
        (b"GET http://a:80/b?c HTTP/1.1", ("GET", "/b?c", 1, "/b", "c", "a:80")),
        (b"GET http://a HTTP/1.1", ("GET", "/", 1, "/", "", "a")),
        (b"GET HTTPS://a?b HTTP/1.1", ("GET", "/?b", 1, "/", "b", "a")),
        (b"OPTIONS http://a HTTP/1.1", ("OPTIONS", "*", 1, "*", "", "a")),
        (b"OPTIONS http://a?b HTTP/1.1", ("OPTIONS", "/?b", 1, "/", "b", "a")),
    ],
)
def test_request_lines(line, expected):
    found = parse_request_line(line)
    assert (found.method, found.target, found.minor, found.path, found.query, found.authority) == expected


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"CONNECT a:1 HTTP/1.1", 501),
        (b"CONNECT /a HTTP/1.1", 501),
        (b"GET /", 400),
        (b"", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET @a/ HTTP/1.1", 400),
        (b"GET http://u@a/ HTTP/1.1", 400),
    ],
)
def test_request_lines_that_are_rejected(line, status):
    with pytest.raises(BadMessage) as caught:
        parse_request_line(line)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"A : b\r\n\r\n", "a blank before a header's colon"),
        (b"A: b\r\n c\r\n\r\n", "a folded header line"),
        (b"A\r\n\r\n", "a header line without a colon"),
        (b": b\r\n\r\n", "a header without a name"),
        (b"A: b\rc\r\n\r\n", "a bare CR or LF"),
        (b"A: b\nc\r\n\r\n", "a bare CR or LF"),
        (b"A: \0\r\n\r\n", "a control character"),
        (b"A(: b\r\n\r\n", "malformed header name"),
    ],
)
def test_a_rejected_block_names_its_problem(block, why):
    with pytest.raises(BadMessage, match=re.escape(why)):
        parse_fields(block, FieldNames(lambda *_: 0))


def test_fields_are_trimmed_and_otherwise_as_they_came():
    names = FieldNames(lambda name, _: 1 if name == "b" else 4 if name == "d" else 0)
    nothing = parse_fields(b"\r\n", names)
    assert (nothing.headers.items(), nothing.count, nothing.uses) == ([], 0, 0)
    for _ in range(2):  # with new names, and with known ones
        some = parse_fields(b"A:b\r\na: \t c \t\r\nB:\r\nC: \r\nD: d:e \xff\r\n\r\n", names)
        assert some.headers.items() == [("A", "b"), ("a", "c"), ("B", ""), ("C", ""), ("D", "d:e ÿ")]
        assert some.headers.lines() == "A: b\r\na: c\r\nB: \r\nC: \r\nD: d:e ÿ\r\n"
        assert (some.count, some.uses) == (5, 5)


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "",
        "a,b",
        "a&b=c",
        "a:000080",
        "[fe80::1%25eth0]:80",
        "a:80",
        "a:",
        "a.b-c_d~e",
        "[::1]",
        "[::1]:8080",
        "192.0.2.1:80",
    ],
)
def test_hosts(host):
    assert host_of(Headers([("X", "y"), ("hOST", host)]), 1) == host


@pytest.mark.parametrize("host", ["a b", "a/b", "u@a", "a:b", "a:123456", "::1", "[::1", "a\\b", "é", "a#", "%41"])
def test_hosts_that_are_rejected(host):
    with pytest.raises(BadMessage):
        host_of(Headers([("Host", host)]), 1)


def test_exactly_one_host():
    assert host_of(Headers(), 0) == ""
    for fields, minor in (([], 1), ([("Host", "a"), ("host", "a")], 1), ([("Host", "a"), ("host", "a")], 0)):
        with pytest.raises(BadMessage):
            host_of(Headers(fields), minor)


def test_a_response_head():
    names = FieldNames(lambda *_: 0)
    line, fields = parse_response(b"HTTP/1.1 200 All right\r\nSet-Cookie: a\r\nset-cookie: b \r\n\r\n", names)
    assert (line.status, line.reason, line.minor) == (200, "All right", 1)
    assert fields.headers.all("Set-Cookie") == ["a", "b"]
    for raw, minor in ((b"HTTP/1.0 404\r\n\r\n", 0), (b"HTTP/1.1 404 \r\n\r\n", 1)):
        line, fields = parse_response(raw, names)
        assert (line.status, line.reason, line.minor, fields.count) == (404, "", minor, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 99 x",
        b"HTTP/1.1 1000 x",
        b"HTTP/1.1 0xx",
        b"HTTP/2.0 200 x",
        b"HTTP/1.1  200",
        b"",
        b"GET / HTTP/1.1",
    ],
)
def test_response_heads_that_are_rejected(line):
    with pytest.raises(BadMessage) as caught:
        parse_response(line + b"\r\n\r\n", FieldNames(lambda *_: 0))
    assert caught.value.status == 502


@pytest.mark.parametrize("data", [b"\n", b"GET / HTTP/1.1\n", b"a\rb", b"\x16\x03\x01", b"a\0", b"a\r\n\nb", b"\r\r"])
def test_hopeless_beginnings(data):
    with pytest.raises(BadMessage):
        check_beginning(data)


@pytest.mark.parametrize("data", [b"", b"GET", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n", b"a\xff\t", b"\r"])
def test_beginnings_that_may_become_something(data):
    check_beginning(data)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0", b" "]), max_size=12).map(b"".join), st.data())
@example(b"a\r\nb", None)
def test_a_beginning_is_judged_alike_however_it_comes(data, draw):
    """What was checked before is not looked at again, and nothing is missed for it."""

    def is_hopeless(*arguments):
        try:
            check_beginning(*arguments)
        except BadMessage:
            return True
        return False

    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data))))) if draw else [1, 2, 3]
    checked, pieces = 0, []
    for cut in [*cuts, len(data)]:
        pieces.append(is_hopeless(data[:cut], checked))
        checked = cut
    assert any(pieces) == is_hopeless(data)


def test_a_complete_first_line_is_judged_at_once_and_only_once():
    check_first_line(b"GET /a")
    check_first_line(b"GET /a HTTP/1.1\r\nHo")
    with pytest.raises(BadMessage):
        check_first_line(b"GET /a\r\n")
    with pytest.raises(BadMessage):
        check_first_line(b"GET /a\r\nX", 7)  # its LF came only now
    check_first_line(b"GET /a\r\nXX", 9)


def test_empty_lines_before_a_request():
    assert without_empty_lines(b"\r\n\r\nGET") == b"GET"
    assert without_empty_lines(b"\r\n\nGET") == b"\nGET"
    assert without_empty_lines(b"\r\n\r") == b"\r"
    assert without_empty_lines(b"GET\r\n") == b"GET\r\n"
    assert without_empty_lines(b"\r\n" * 100_000) == b""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /a?secret HTTP/1.1\r\nbroken", ("GET", "/a", "HTTP/1.1")),
        (b"GET /a HTTP/2.0\r\n", ("GET", "/a", "HTTP/2.0")),
        (b"GET /a b HTTP/1.1\r\n", ("GET", "/a", "")),
        (b"GET /a", ("GET", "/a", "")),
        (b"", ("", "", "")),
        (b"\x16\x03\x01", ("", "", "")),
        (b"\xff\xff /a HTTP/1.1\r\n", ("", "", "")),
        (b"GET /" + b"a" * 9000, ("GET", "/" + "a" * 2047, "")),
    ],
)
def test_readable_parts_of_a_rejected_request(data, expected):
    assert readable_line(data) == expected


def test_no_input_makes_the_grammar_backtrack():
    """Linear: each of these would take minutes otherwise."""
    for block in (
        b"A:" + b" " * 60000 + b"\x01\r\n\r\n",
        b"A:b\r\n" * 12000 + b"A b\r\n\r\n",
        b"A" * 60000 + b"\r\n\r\n",
        b"A" + b" " * 600_000 + b"\r\n\r\n",
        b"A" + b" \t" * 300_000 + b"b: c\r\n\r\n",
    ):
        with pytest.raises(BadMessage):
            parse_fields(block, FieldNames(lambda *_: 0))
