"""The rules for the fields of HTTP/2, by their numbers in `http/h2/fields.py`; each of them from both sides."""

from ipaddress import ip_network

import pytest

from gproxy.http.errors import BadMessage
from gproxy.http.framing import CHUNKED
from gproxy.http.h2.fields import (
    RESPONSE_NAMES,
    HeadLimits,
    Malformed,
    request_fields,
    request_head,
    response_head,
    strip_response,
    trailers,
)
from gproxy.http.h2.hpack_decoder import HPACKDecoder
from gproxy.http.h2.never_indexed import NeverIndexed
from gproxy.http.headers import Headers
from gproxy.http.request_fields import FieldRules
from gproxy.http.trust import Trust
from gproxy.http.wire import parse_request_line
from unit.http.h2.attacks import ATTACKS
from unit.http.h2.blocks import RULES, block

LIMITS = HeadLimits(max_fields=10, max_target=100)
PEER = "192.0.2.1"
GET = {":method": "GET", ":scheme": "https", ":authority": "a.test", ":path": "/x?y=1"}
CONNECT = {**GET, ":method": "CONNECT", ":protocol": "websocket"}


def without(pseudo, *names):
    return {name: value for name, value in pseudo.items() if name not in names}


def head(*fields, limits=LIMITS, **pseudo):
    """The head of a GET with these pseudo-fields in place of the usual ones, and these fields."""
    changed = {**GET, **{f":{name}": value for name, value in pseudo.items()}}
    return request_head(block(*changed.items(), *fields), limits=limits)


def head_of(pseudo, *fields):
    return request_head(block(*pseudo.items(), *fields), limits=LIMITS)


def malformed(*fields):
    with pytest.raises(Malformed) as caught:
        request_head(block(*fields), limits=LIMITS)
    return caught.value


def rejected(status, *fields, limits=LIMITS):
    with pytest.raises(BadMessage) as caught:
        request_head(block(*fields), limits=limits)
    assert caught.value.status == status
    return caught.value


def test_a_usual_request():
    found = head(("user-agent", "x"), ("accept", "a"), ("accept", "b"), ("priority", "u=1, i"), ("content-length", "5"))
    assert (found.method, found.target, found.path, found.query, found.host) == ("GET", "/x?y=1", "/x", "y=1", "a.test")
    assert found.headers.items() == [
        ("Host", "a.test"), ("user-agent", "x"), ("accept", "a"), ("accept", "b"), ("priority", "u=1, i"),
        ("content-length", "5"),
    ]  # fmt: skip
    assert (found.content_length, found.protocol, found.priority, found.hop_by_hop) == (
        5,
        "",
        "u=1, i",
        ["content-length"],
    )
    assert (head().content_length, head().priority, head().uses, head().hop_by_hop) == (-1, "", 0, [])


def test_a_block_that_comes_again_is_not_examined_again():
    decoded = block(*GET.items())
    assert request_head(decoded, limits=LIMITS) is request_head(decoded, limits=LIMITS)
    answer = block((":status", "200"), names=RESPONSE_NAMES)
    assert response_head(answer) is response_head(answer)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [([*GET.items(), ("upgrade", "h2c")], Malformed), (without(GET, ":authority").items(), BadMessage)],
)
def test_the_error_of_a_block_that_comes_again_does_not_grow(fields, kind):
    decoded, caught = block(*fields), []
    for _ in range(3):
        with pytest.raises(kind) as found:
            request_head(decoded, limits=LIMITS)
        caught.append(found.value)
    assert len({str(error) for error in caught}) == 1
    assert caught[0] is not caught[1]
    assert caught[1].line == ("GET", "/x", "HTTP/2.0")
    lengths = [sum(1 for _ in iter_traceback(error.__traceback__)) for error in caught]
    assert lengths[1] == lengths[2]


def iter_traceback(traceback):
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


# 1


@pytest.mark.parametrize("missing", [":method", ":scheme", ":path"])
def test_1_a_request_without_one_of_its_pseudo_fields_is_malformed(missing):
    malformed(*without(GET, missing).items())


@pytest.mark.parametrize("name", list(GET))
def test_1_each_pseudo_field_comes_once(name):
    assert "is repeated" in malformed(*GET.items(), (name, GET[name])).detail


@pytest.mark.parametrize("name", list(CONNECT))
def test_1_pseudo_fields_come_first(name):
    fields = [(one, value) for one, value in CONNECT.items() if one != name]
    assert "is out of place" in malformed(*fields, ("accept", "*/*"), (name, CONNECT[name])).detail


@pytest.mark.parametrize("name", [":", ":status", ":foo", ":Method", ":path ", ":method\r\nx", ":protocol", "::path"])
def test_1_other_pseudo_fields_are_malformed(name):
    malformed(*GET.items(), (name, "websocket"))


def test_1_pseudo_fields_come_in_any_order():
    assert head_of(dict(reversed(GET.items()))).target == "/x?y=1"


@pytest.mark.parametrize("name", [":path", ":status", ":foo"])
def test_1_pseudo_fields_in_trailers_are_malformed(name):
    with pytest.raises(Malformed, match="out of place"):
        trailers(block(("x-a", "1"), (name, "200")))
    assert trailers(block(("x-a", "1"), ("x-a", "2"))) == [("x-a", "1"), ("x-a", "2")]
    assert trailers(block()) == []


# 2


@pytest.mark.parametrize("method", ["", "GET ", "GE T", "GET /admin HTTP/1.1\r\nx: y", "G\0T", "GET\u00e9", "a/b"])
def test_2_a_method_is_a_token(method):
    with pytest.raises(Malformed):
        head(method=method)


@pytest.mark.parametrize("method", ["get", "PURGE", "M-SEARCH", "TRACE", "A" * 40])
def test_2_any_token_is_a_method(method):
    assert head(method=method).method == method


@pytest.mark.parametrize(
    "path",
    ["", "x", "*", "?a", "http://b.test/", "https://a.test/x", "//b.test/ x", "/a b", "/a\tb", "/#", "/a#b", "/\u00e9",
     "/a\r\nx: y", "/a\0", "/a\x7f", " /", "/ ", "/a HTTP/1.1\r\nHost: b\r\n\r\n"],
)  # fmt: skip
def test_2_a_path_begins_with_a_slash_and_has_visible_characters(path):
    with pytest.raises(Malformed):
        head(path=path)


@pytest.mark.parametrize("path", ["/", "//b.test/x", "/?", "/%00", "/a\\b", '/"<>|^`{}', "/*", "/a?b?c", "/http://b"])
def test_2_a_path_is_kept_byte_for_byte(path):
    found = head(path=path)
    assert (found.target, found.path, found.query) == (path, path.partition("?")[0], path.partition("?")[2])


def test_2_the_characters_of_a_path_are_those_of_a_target_in_http_1():
    def is_accepted(parse, *arguments, **named):
        try:
            parse(*arguments, **named)
        except (BadMessage, Malformed):
            return False
        return True

    for number in range(256):
        path = f"/{chr(number)}x"
        line = f"GET {path} HTTP/1.1".encode("latin-1")
        assert is_accepted(head, path=path) == is_accepted(parse_request_line, line), path


def test_2_an_asterisk_is_for_options_only():
    assert (head(method="OPTIONS", path="*").path, head(method="OPTIONS", path="*").query) == ("*", "")
    assert head(method="OPTIONS").path == "/x"
    with pytest.raises(Malformed):
        head(method="OPTIONS", path="**")


@pytest.mark.parametrize("scheme", ["", "ftp", "HTTPS", "ws", "https://a", "https:", "http ", "http\r\nx: y"])
def test_2_a_scheme_is_http_or_https(scheme):
    with pytest.raises(Malformed):
        head(scheme=scheme)


def test_2_nothing_else_depends_on_the_scheme():
    assert head(scheme="http").headers == head(scheme="https").headers


# 3


@pytest.mark.parametrize(
    "host", ["", "u@a.test", "u:p@a.test", "a b", "a.test/x", "a.test\r\nx: y", "[::1", "a:b", "a?"]
)
@pytest.mark.parametrize("name", [":authority", "host"])
def test_3_a_host_is_valid_and_has_no_userinfo(host, name):
    malformed(*without(GET, ":authority", name).items(), (name, host))


@pytest.mark.parametrize("host", ["a.test", "A.test:8443", "[::1]:80", "10.0.0.1", "a_b"])
@pytest.mark.parametrize("name", [":authority", "host"])
def test_3_either_of_them_is_the_host_which_comes_first(host, name):
    found = head_of(without(GET, ":authority") | ({name: host} if name[0] == ":" else {}), ("accept", "*/*"), *(
        [(name, host)] if name[0] != ":" else []
    ))  # fmt: skip
    assert found.host == host
    assert found.headers.items() == [("Host", host), ("accept", "*/*")]


def test_3_a_host_beside_the_authority_is_equal_except_for_case():
    found = head(("accept", "a"), ("host", "A.TEST"), limits=HeadLimits(max_fields=2, max_target=100))
    assert (found.host, found.headers.items()) == ("a.test", [("Host", "a.test"), ("accept", "a")])
    for other in ("b.test", "a.test:443", "a.test.", ""):
        with pytest.raises(Malformed):
            head(("host", other))


def test_3_a_request_without_a_host_is_rejected():
    error = rejected(400, *without(GET, ":authority").items(), ("accept", "a"))
    assert error.line == ("GET", "/x", "HTTP/2.0")


# 4


@pytest.mark.parametrize(
    "name",
    ["", "Accept", "x y", "x:y", "x: y", "x\r\ny", "x\ny", "x\0", "\u00e9", "x\t", " x", "x(", "host\r\n\r\nGET / HTTP/1.1"],
)  # fmt: skip
def test_4_a_name_is_a_token_in_lower_case(name):
    malformed(*GET.items(), (name, "1"))
    with pytest.raises(Malformed):
        trailers(block((name, "1")))
    with pytest.raises(Malformed):
        response_head(block((":status", "200"), (name, "1"), names=RESPONSE_NAMES))


@pytest.mark.parametrize(
    "value",
    [" a", "a ", "\ta", "a\t", " ", "a\r\nx: y", "a\r", "a\nb", "a\0b", "a\x7f", "\x1b[2J", "a\r\n\r\nGET / HTTP/1.1\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x-a", "cookie", "user-agent", "content-type"])
def test_4_a_value_has_neither_control_characters_nor_outer_blanks(name, value):
    malformed(*GET.items(), (name, value))
    with pytest.raises(Malformed):
        trailers(block((name, value)))
    with pytest.raises(Malformed):
        response_head(block((":status", "200"), (name, value), names=RESPONSE_NAMES))


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "\u00e9", "\xff\x80", ": x", "a: b", "x" * 300])
def test_4_other_values_are_kept(value):
    assert head(("x-a", value), ("!#$%&'*+-.^_`|~09az", "1")).headers.items()[1:] == [
        ("x-a", value), ("!#$%&'*+-.^_`|~09az", "1"),
    ]  # fmt: skip


# 5


@pytest.mark.parametrize(
    "name", ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings"]
)
@pytest.mark.parametrize("value", ["", "close", "chunked", "h2c"])
def test_5_fields_of_a_connection_are_malformed(name, value):
    assert name in malformed(*GET.items(), (name, value)).detail
    with pytest.raises(Malformed):
        trailers(block((name, value)))
    with pytest.raises(Malformed):
        response_head(block((":status", "200"), (name, value), names=RESPONSE_NAMES))


@pytest.mark.parametrize("value", ["", "gzip", "trailers, gzip", "trailers;q=0.5", "Trailers", "chunked"])
def test_5_a_te_other_than_trailers_is_malformed(value):
    malformed(*GET.items(), ("te", value))


def test_5_te_trailers_is_kept():
    assert head(("te", "trailers")).headers["te"] == "trailers"
    assert trailers(block(("te", "trailers"))) == [("te", "trailers")]  # which Body does not pass on


# 6


@pytest.mark.parametrize("value", ["", "-1", "+1", "1,1", "1, 1", "0x1", "1.0", "\u00b2", "1" * 19, "1 1"])
def test_6_a_content_length_is_one_number(value):
    malformed(*GET.items(), ("content-length", value))
    with pytest.raises(Malformed):
        response_head(block((":status", "200"), ("content-length", value), names=RESPONSE_NAMES))


@pytest.mark.parametrize(("value", "length"), [("0", 0), ("5", 5), ("005", 5), ("9" * 18, 10**18 - 1)])
def test_6_the_number_is_the_length(value, length):
    assert head(("content-length", value)).content_length == length
    answer = response_head(block((":status", "200"), ("content-length", value), names=RESPONSE_NAMES))
    assert (answer.framing, answer.headers["content-length"]) == (length, value)


# 7


@pytest.mark.parametrize("pieces", [["a=1"], ["a=1", "b=2", "c=3"], ["a=1; b=2", "c=3"], [""]])
def test_7_the_pieces_of_a_cookie_are_joined(pieces):
    fields = [("x", "1"), *(("cookie", piece) for piece in pieces), ("y", "1"), ("cookie", "z")]
    found = head(*fields, limits=HeadLimits(max_fields=4, max_target=100))  # they count as one field
    assert found.headers.all("cookie") == ["; ".join([*pieces, "z"])]
    assert list(found.headers.names()) == ["host", "x", "cookie", "y"]


def test_7_an_empty_piece_leaves_no_blank_at_the_end():
    found = head(("cookie", "a=1"), ("cookie", ""), limits=HeadLimits(max_fields=2, max_target=100))
    assert found.headers.lines() == "Host: a.test\r\ncookie: a=1\r\n"


@pytest.mark.parametrize("second", ["5", "6"])
def test_7_a_repeated_content_length_is_malformed(second):
    malformed(*GET.items(), ("content-length", "5"), ("content-length", second))
    with pytest.raises(Malformed):
        response_head(
            block((":status", "200"), ("content-length", "5"), ("content-length", second), names=RESPONSE_NAMES)
        )


@pytest.mark.parametrize("second", ["a.test", "b.test"])
@pytest.mark.parametrize("pseudo", [GET, without(GET, ":authority")])
def test_7_a_repeated_host_is_malformed(pseudo, second):
    assert malformed(*pseudo.items(), ("host", "a.test"), ("host", second)).detail == "more than one host"


def test_7_other_spellings_are_left_to_trust():
    found = head(("content_length", "5"), ("x_forwarded_for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.1"))
    assert len(found.headers) == 4
    assert request_fields(found, RULES, PEER).headers.items() == [("Host", "a.test")]


# 8


def test_8_a_plain_connect_is_rejected():
    rejected(501, (":method", "CONNECT"), (":authority", "a.test:443"))
    malformed((":method", "CONNECT"))
    malformed((":method", "CONNECT"), (":path", "/"))
    malformed(*{**GET, ":method": "CONNECT"}.items())
    malformed((":method", "CONNECT"), (":authority", "a.test:443"), (":path", "/"))


def test_8_an_extended_connect_is_a_get_that_asks_for_an_upgrade():
    found = head_of(CONNECT, ("sec-websocket-version", "13"))
    assert (found.method, found.target, found.host, found.protocol) == ("GET", "/x?y=1", "a.test", "websocket")
    assert request_fields(found, RULES, PEER).offered == ("websocket",)
    assert head_of({**CONNECT, ":protocol": "WebSocket"}).protocol == "websocket"
    assert request_fields(head(), RULES, PEER).offered == ()


@pytest.mark.parametrize("protocol", ["connect-udp", "h2c", "", "websocket, h2c"])
def test_8_an_extended_connect_for_something_else_is_rejected(protocol):
    rejected(501, *{**CONNECT, ":protocol": protocol}.items())


@pytest.mark.parametrize("missing", [":scheme", ":path", ":authority"])
def test_8_an_extended_connect_has_all_pseudo_fields_and_no_content(missing):
    malformed(*without(CONNECT, missing).items(), ("host", "a.test"))
    malformed(*CONNECT.items(), ("content-length", "5"))


@pytest.mark.parametrize("status", ["", "20", "2000", "99", "099", "20x", "+20", " 20", "\u00b2\u00b2\u00b2", "101"])
def test_8_a_status_has_three_digits_and_is_not_101(status):
    with pytest.raises(Malformed):
        response_head(block((":status", status), names=RESPONSE_NAMES))


@pytest.mark.parametrize(
    "fields",
    [[], [("x", "1")], [("x", "1"), (":status", "200")], [(":status", "200"), (":status", "200")],
     [(":status", "200"), (":path", "/")], [(":method", "GET")]],
)  # fmt: skip
def test_8_a_response_has_one_status_and_no_other_pseudo_field(fields):
    with pytest.raises(Malformed):
        response_head(block(*fields, names=RESPONSE_NAMES))


@pytest.mark.parametrize(
    ("status", "length"), [(100, 0), (103, 0), (200, -1), (204, 0), (304, 0), (404, -1), (599, -1), (999, -1)]
)
def test_8_the_head_of_a_response(status, length):
    fields = [("server", "x"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("te", "trailers")]
    found = response_head(block((":status", str(status)), *fields, names=RESPONSE_NAMES))
    assert (found.status, found.phrase, found.upgrade, found.keep) == (status, "", "", False)
    assert found.framing == length
    assert (found.headers.items(), found.headers.is_stripped) == (fields[:3], True)


# limits


def test_too_many_fields_are_rejected():
    limits = HeadLimits(max_fields=3, max_target=100)
    assert len(head(("a", "1"), ("b", "1"), limits=limits).headers) == 3
    rejected(431, *GET.items(), ("a", "1"), ("b", "1"), ("c", "1"), limits=limits)
    rejected(431, *GET.items(), ("a", "1"), ("a", "1"), ("a", "1"), limits=limits)


def test_a_long_target_is_rejected():
    assert len(head(path="/" * 100).target) == 100
    rejected(414, *{**GET, ":path": "/" * 101}.items())


def test_a_large_block_is_rejected():
    fields = *GET.items(), ("a", "1" * 5000)
    with pytest.raises(BadMessage) as caught:
        request_head(block(*fields, max_size=4096), limits=LIMITS)
    assert (caught.value.status, caught.value.line) == (431, ("GET", "/x", "HTTP/2.0"))
    for read, leading in ((response_head, [(":status", "200")]), (trailers, [])):
        with pytest.raises(Malformed, match="too large"):
            read(block(*leading, ("a", "1" * 5000), names=RESPONSE_NAMES, max_size=4096))


def test_a_fault_counts_before_a_limit():
    malformed(*{**GET, ":path": "/" * 101}.items(), ("connection", "close"))
    malformed(*without(GET, ":authority").items(), ("connection", "close"))


@pytest.mark.parametrize(
    ("pseudo", "line"),
    [
        (GET, ("GET", "/x", "HTTP/2.0")),
        ({**GET, ":path": "/a\r\nb"}, ("GET", "/a", "HTTP/2.0")),
        ({**GET, ":method": "\r\n"}, ("", "", "HTTP/2.0")),
        ({}, ("", "", "HTTP/2.0")),
    ],
)
def test_the_line_of_a_fault_is_what_is_readable(pseudo, line):
    assert malformed(*pseudo.items(), ("upgrade", "h2c")).line == line


# attacks


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_malformed_unless_they_lie_about_their_length(name):
    attack = ATTACKS[name]
    if attack.lies:
        found = request_head(block(*attack.fields), limits=LIMITS)
        assert found.content_length != len(attack.content)
    else:
        malformed(*attack.fields)


# what follows for a server


def test_fields_that_need_nothing_are_not_copied():
    found = head(("accept", "a"))
    read = request_fields(found, RULES, PEER)
    assert read.headers is read.received is found.headers
    assert (read.host, read.client, read.framing, read.awaits_continue) == ("a.test", PEER, CHUNKED, False)
    assert request_fields(found, RULES, PEER) is read


def test_fields_of_one_hop_are_removed_and_trailers_accepted():
    found = head(("te", "trailers"), ("content-length", "5"), ("expect", "100-continue"), ("proxy-authorization", "x"))
    read = request_fields(found, RULES, PEER)
    assert read.headers.items() == [("Host", "a.test"), ("TE", "trailers")]
    assert (read.framing, read.awaits_continue) == (5, True)
    assert len(read.received) == 5


def test_what_only_a_trusted_proxy_may_send():
    rules = FieldRules(Trust((ip_network("192.0.2.0/24"),), frozenset({"x-user"})), max_fields=100, max_body=0)
    fields = [("x-forwarded-for", "10.0.0.7"), ("x-request-id", "abc"), ("x-user", "root"), ("x_user", "root")]
    trusted, other = (
        request_fields(request_head(block(*GET.items(), *fields, names=rules.names), limits=LIMITS), rules, peer)
        for peer in (PEER, "198.51.100.1")
    )
    assert (trusted.client, trusted.request_id) == ("10.0.0.7", "abc")
    assert (other.client, other.request_id) == ("198.51.100.1", "")
    assert trusted.headers.items() == [("Host", "a.test"), ("x-forwarded-for", "10.0.0.7")]
    assert other.headers.items() == [("Host", "a.test")]


def test_an_unknown_expectation_and_a_long_body_are_rejected():
    rules = FieldRules(Trust(()), max_fields=100, max_body=10)
    for field, status in ((("expect", "200-ok"), 417), (("content-length", "11"), 413)):
        found = head(field)
        for _ in range(2):
            with pytest.raises(BadMessage) as caught:
                request_fields(found, rules, PEER)
            assert caught.value.status == status
    assert request_fields(head(("content-length", "10")), rules, PEER).framing == 10


@pytest.mark.parametrize("is_stripped", [False, True])
@pytest.mark.parametrize("status", [200, 426])
def test_a_response_goes_without_the_fields_of_a_connection(is_stripped, status):
    kept = [("Content-Length", "5"), ("Proxy-Authenticate", "Basic"), ("X", "1")]
    headers = Headers([*kept, *([] if is_stripped else [("Connection", "x"), ("Keep-Alive", "1"), ("TE", "trailers")])])
    if not is_stripped or status == 426:
        headers["Upgrade"] = "h2c"
    headers.is_stripped = is_stripped
    strip_response(headers, status)
    assert headers.items() == kept


class TestNeverIndexed:
    def of(self, *fields):
        return HPACKDecoder(RULES.names, 1 << 20, 100).decode(b"".join(
            bytes([0x10, len(name), *name.encode(), len(value), *value.encode()]) for name, value in fields
        ))  # fmt: skip

    def test_a_head_has_the_names(self):
        found = request_head(self.of(*GET.items(), ("x-key", "1")), limits=LIMITS)
        assert set(found.headers.never_indexed) == {*GET, "x-key"}
        assert set(response_head(self.of((":status", "200"), ("x-key", "1"))).headers.never_indexed) == {
            ":status", "x-key",
        }  # fmt: skip

    def test_a_host_becomes_the_authority(self):
        fields = [*without(GET, ":authority").items(), ("host", "a.test")]
        assert ":authority" in request_head(self.of(*fields), limits=LIMITS).headers.never_indexed

    def test_secrets_that_are_never_indexed_anyway_are_not_noted(self):
        decoded = self.of(
            ("cookie", "a=1"), ("authorization", "b"), ("set-cookie", "c=1"), ("proxy-authorization", "d")
        )
        assert decoded.never_indexed == frozenset()

    def test_a_trailer_says_it_by_its_name(self):
        assert [type(name) for name, _ in trailers(self.of(("x-sum", "1")))] == [NeverIndexed]
        assert [type(name) for name, _ in trailers(block(("x-sum", "1")))] == [str]
