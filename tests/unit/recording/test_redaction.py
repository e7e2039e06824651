"""Redaction by an allow-list: values of fields, cookies, queries, URLs and paths."""

import pytest

from gproxy.recording.pseudonyms import FORM, Pseudonyms
from gproxy.recording.record import RecordedAttempt, RecordedExchange, RecordedRequest, RecordedResponse
from gproxy.recording.redaction import Redaction

KEY = b"k" * 32
pseudonym = Pseudonyms(KEY).of


def redacted(*, target="/", headers=(), response=(), keep=(), rules=(), attempts=(), user=""):
    exchange = RecordedExchange(
        id="1",
        time=0.0,
        duration=0.0,
        client="192.0.2.1",
        scheme="http",
        host="a",
        route="",
        request=RecordedRequest("GET", target, list(headers)),
        response=RecordedResponse(200, list(response)),
        attempts=[RecordedAttempt("u", "b", 0, 0, RecordedRequest("GET", one, [])) for one in attempts],
        user=user,
    )
    Redaction(Pseudonyms(KEY), keep, rules).apply(exchange)
    return exchange


def field(name, value, **more):
    return redacted(headers=[(name, value)], **more).request.headers[0][1]


def test_pseudonyms_are_equal_for_equal_values_of_one_key_only():
    assert pseudonym("a") == pseudonym("a") != pseudonym("b")
    assert pseudonym("a") != Pseudonyms(b"other").of("a")
    assert pseudonym("") == ""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Accept", "text/html", "text/html"),
        ("X-Api-Key", "secret", "{secret}"),
        ("X-Unknown", "secret", "{secret}"),
        ("Authorization", "Bearer secret", "Bearer {secret}"),
        ("Authorization", "secret", "{secret}"),
        ("Authorization", "my secret", "{my secret}"),
        ("Cookie", 'a=secret; b="secret"; secret', "a={secret}; b={secret}; {secret}"),
        ("Cookie", "secret=", "{secret=}"),
        ("Referer", "http://u:p@a.test:81/page;j=secret?x=secret#secret",
         "http://{u:p}@a.test:81/page;j={secret}?x={secret}#{secret}"),
        ("Referer", "//u@a/p?secret", "//{u}@a/p?{secret}"),
        ("Referer", "data:secret", "{data:secret}"),
        ("Origin", "https://a.test", "https://a.test"),
        ("Location", "1u:p@a.test/b", "{1u:p@a.test/b}"),
        ("Location", "/\\u:p@a.test/b", "{/\\u:p@a.test/b}"),
        ("Cookie", "a;" * 1001, "{" + "a;" * 1001 + "}"),
        ("Set-Cookie", "a;" * 1001, "{" + "a;" * 1001 + "}"),
    ],
)  # fmt: skip
def test_values_of_fields(name, value, expected):
    assert field(name, value) == filled(expected)


def filled(text):
    """The text, with pseudonyms for what is in braces."""
    parts = text.split("{")
    return parts[0] + "".join(pseudonym(part.partition("}")[0]) + part.partition("}")[2] for part in parts[1:])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=secret&b=sec%72et", "a={secret}&b={secret}"),
        ("a=my+secret&a=my%20secret", "a={my secret}&a={my secret}"),
        ("secret", "{secret}"),
        ("c2VjcmV0==&c2VjcmV0=", "{c2VjcmV0==}&{c2VjcmV0=}"),
        ("a=1;b=2", "a={1};b={2}"),
        ("", ""),
        ("a=b=c", "a={b=c}"),
        ("a=1&" * 1001, "{" + "a=1&" * 1001 + "}"),
    ],
)
def test_values_of_queries(query, expected):
    assert redacted(target=f"/a?{query}").request.target == f"/a?{filled(expected)}"


def test_equal_values_of_all_places_have_one_pseudonym():
    headers = [("X-A", "grün".encode().decode("latin-1")), ("Cookie", "a=gr\xc3\xbcn")]
    found = redacted(target="/?a=gr%C3%BCn", headers=headers, user="grün")
    assert found.request.target == f"/?a={found.user}"
    assert dict(found.request.headers) == {"X-A": found.user, "Cookie": f"a={found.user}"}


def test_attributes_of_a_cookie_stay_but_for_unknown_ones():
    (found,) = redacted(
        response=[("Set-Cookie", "sid=secret; Path=/a; Max-Age=5; Secure; Own=secret; x")]
    ).response.headers
    assert found[1] == filled("sid={secret}; Path=/a; Max-Age=5; Secure; Own={secret}; {x}")


def test_kept_names_of_fields_parameters_cookies_and_users():
    found = redacted(
        target="/?page=3&q=4",
        headers=[("X-Own", "1"), ("Cookie", "theme=dark; sid=1")],
        keep=["x-own", "Page", "theme", "user"],
        user="alice",
    )
    assert found.request.target == filled("/?page=3&q={4}")
    assert found.request.headers == [("X-Own", "1"), ("Cookie", filled("theme=dark; sid={1}"))]
    assert found.user == "alice"


def test_segments_of_a_path_are_hidden_wherever_the_exchange_has_them():
    found = redacted(
        target="/v1/reset/abc/next?a",
        headers=[("Referer", "https://a/v1/reset/abc")],
        response=[("Location", "/done/abc"), ("Location", "abc;v#f")],
        rules=["path:/v1/reset/*"],
        attempts=["/inner/abc", "/inner/abc;v=1"],
    )
    assert found.request.target == filled("/v1/reset/{abc}/next?{a}")
    assert found.request.headers == [("Referer", filled("https://a/v1/reset/{abc}"))]
    assert found.response.headers == [("Location", filled("/done/{abc}")), ("Location", filled("{abc};{v}#{f}"))]
    assert [one.request.target for one in found.attempts] == [filled("/inner/{abc}"), filled("/inner/{abc};v={1}")]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/reset", "/reset"),
        ("/other/abc", "/other/abc"),
        ("//reset//abc", "//reset//{abc}"),
        ("/%72eset/a%62c", "/%72eset/{abc}"),
        ("/x/../reset/abc", "/{x}/{..}/{reset}/{abc}"),
        ("*", "*"),
        ("http://u@a.test/reset/abc", "http://{u}@a.test/reset/{abc}"),
        ("a.test:443", "a.test:443"),
    ],
)
def test_spellings_of_a_hidden_path(target, expected):
    assert redacted(target=target, rules=["path:/reset/*"]).request.target == filled(expected)


@pytest.mark.parametrize(
    "rule", ["path:reset/*", "path:/reset", "path:/a*", "card", "json:card", "json:$", "json:$.a["]
)
def test_wrong_rules(rule):
    with pytest.raises(ValueError, match=r"expected (path:/PATH|json:\$)"):
        Redaction(Pseudonyms(KEY), (), [rule])


def test_the_header_describes_it():
    described = Redaction(Pseudonyms(KEY), ["X-A"], ["json:$.a"]).describe()
    assert described == {"kept": ["x-a"], "hidden": ["json:$.a"], "pseudonyms": FORM}
