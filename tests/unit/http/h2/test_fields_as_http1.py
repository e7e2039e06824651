"""Whatever is accepted of HTTP/2 is one request of HTTP/1.1 with the same meaning, once it is written as one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.http.errors import BadMessage
from gproxy.http.field_names import FieldNames
from gproxy.http.h2.fields import HeadLimits, Malformed, request_fields, request_head
from gproxy.http.wire import host_of, parse_fields, parse_request_line
from unit.http.h2.blocks import RULES, block

LIMITS = HeadLimits(max_fields=10, max_target=100)
#: What heads are made of, and what breaks them.
PIECES = ["GET", "OPTIONS", "CONNECT", "http", "https", "a.test", "b.test:80", "[::1]", "/", "*", "x", "?", "5", "0", "a=1",
          ":", " ", "\t", "\r", "\n", "\r\n", "\0", "@", "#", ",", "_", "\x7f", "\xe9", "X", "chunked", "trailers",
          "websocket"]  # fmt: skip
NAMES = ["host", "cookie", "content-length", "te", "expect", "x-a", "x_a", "accept", "x-forwarded-for"]
BAD_NAMES = [":path", ":protocol", ":status", "transfer-encoding", "connection", "upgrade"]
GOOD = {":method": ["GET", "OPTIONS", "get"], ":scheme": ["http", "https"], ":authority": ["a.test", "[::1]:80"],
        ":path": ["/", "/a?b", "/%0d%0a", "/a:b\\"]}  # fmt: skip

broken = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
values = st.sampled_from(["a=1", "a.test", "5", "trailers", "100-continue", "\xe9", "a b"])
good = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in GOOD.items()})
fields = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=4)
#: At most one thing is broken: of several, any one would be enough to reject the request.
pseudo_fault = st.dictionaries(st.sampled_from(list(GOOD)), broken, max_size=1)
fault = st.lists(
    st.tuples(st.sampled_from(NAMES + BAD_NAMES), broken)
    | st.tuples(st.builds("{}{}".format, st.sampled_from(NAMES), broken), values),
    max_size=1,
)


@settings(max_examples=200, deadline=None)
@given(first=good, changed=pseudo_fault, further=fields, fault=fault)
def test_a_request_that_is_accepted_is_the_same_in_http_1(first, changed, further, fault):
    try:
        head = request_head(block(*{**first, **changed}.items(), *further, *fault), limits=LIMITS)
        read = request_fields(head, RULES, "192.0.2.1")
    except (BadMessage, Malformed):
        return
    text = f"{head.method} {head.target} HTTP/1.1\r\n{read.headers.lines()}\r\n"
    beginning, _, rest = text.encode("latin-1").partition(b"\r\n")
    line = parse_request_line(beginning)
    parsed = parse_fields(rest, FieldNames(lambda *_: 0))
    assert (line.method, line.target, line.path, line.query) == (head.method, head.target, head.path, head.query)
    assert parsed.headers == read.headers
    assert host_of(parsed.headers, 1) == head.host
    assert not parsed.headers.has_any(("connection", "transfer-encoding", "upgrade", "content-length"))
    assert len(parsed.headers.all("cookie")) <= 1
