import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.field_names import FieldNames
from gproxy.http.headers import Headers
from gproxy.http.wire import parse_fields

PAIRS = [("Host", "a"), ("X-A", "1"), ("Accept", "*/*"), ("x-a", "2"), ("X-A", "3")]


def parsed(pairs):
    """Return headers that came from the wire."""
    lines = [f"{name}: {value}\r\n" for name, value in pairs]
    return parse_fields("".join([*lines, "\r\n"]).encode("latin-1"), FieldNames(lambda *_: 0)).headers


@pytest.fixture(params=[Headers, parsed])
def headers(request):
    return request.param(list(PAIRS))


def test_lookup_ignores_case_and_joins_repetition(headers):
    assert headers["x-A"] == headers.get("X-A") == headers.lookup("x-a") == "1, 2, 3"
    assert headers.all("X-a") == ["1", "2", "3"]
    assert "HOST" in headers
    assert headers.get("Nope") is None
    assert headers.get("Nope", "-") == "-"
    assert headers.lookup("nope") is None
    assert headers.all("Nope") == []
    assert 5 not in headers


@pytest.mark.parametrize(
    ("value", "found"), [(5, "5; write str(5)"), (0.5, "0.5; write str(0.5)"), (b"secret", "bytes"), (["a"], "list")]
)
def test_a_value_that_is_no_text_is_named_but_for_secrets(headers, value, found):
    message = re.escape(f"the value of X-B must be text, not {found}") + "$"
    with pytest.raises(TypeError, match=message):
        headers["X-B"] = value
    with pytest.raises(TypeError, match=message):
        Headers({"X-B": value})
    with pytest.raises(TypeError, match=message):
        headers.update({"X-B": value})


def test_lines_keep_case_and_the_order_within_a_name(headers):
    assert headers.items() == [("Host", "a"), ("X-A", "1"), ("x-a", "2"), ("X-A", "3"), ("Accept", "*/*")]
    assert headers.lines() == "Host: a\r\nX-A: 1\r\nx-a: 2\r\nX-A: 3\r\nAccept: */*\r\n"
    assert headers.lines_without(frozenset({"x-a"})) == "Host: a\r\nAccept: */*\r\n"
    assert headers.lines_without(frozenset({"host"})) == "X-A: 1\r\nx-a: 2\r\nX-A: 3\r\nAccept: */*\r\n"


def test_set_cookie_is_never_joined():
    headers = Headers([("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")])
    assert headers["set-cookie"] == headers.lookup("set-cookie") == "a=b"
    assert headers.all("set-cookie") == ["a=b", "c=d"]
    assert headers.lines() == "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n"


def test_cookies_are_joined_as_in_one_line():
    headers = Headers([("Cookie", "a=b"), ("cookie", "c=d; e=f")])
    assert headers["cookie"] == headers.lookup("cookie") == "a=b; c=d; e=f"


def test_assigning_replaces_every_line(headers):
    headers["x-A"] = "new"
    assert headers.all("X-A") == ["new"]
    headers.put("Accept", "accept", "text/html")
    assert headers.lines() == "Host: a\r\nx-A: new\r\nAccept: text/html\r\n"


def test_removing(headers):
    del headers["X-a"]
    assert headers.all("x-a") == []
    headers.discard("x-a")
    with pytest.raises(KeyError):
        del headers["x-a"]
    with pytest.raises(KeyError):
        headers["x-a"]
    assert headers.pop("Accept") == "*/*"
    assert headers.pop("Accept") is None
    assert headers.pop("Accept", "none") == "none"
    assert headers.items() == [("Host", "a")]


def test_what_was_removed_does_not_come_back(headers):
    headers.discard("x-a")
    headers.add("X-A", "9")
    assert headers.all("x-a") == ["9"]


def test_removing_many(headers):
    headers.discard_all(frozenset({"x-a", "nope"}))
    assert headers.items() == [("Host", "a"), ("Accept", "*/*")]
    assert headers.has_any(("nope", "host"))
    assert not headers.has_any(("nope", "x-a"))


def test_update_sets_every_name(headers):
    headers.update({"X-A": "new", "X-B": "b"})
    assert headers.items() == [("Host", "a"), ("Accept", "*/*"), ("X-A", "new"), ("X-B", "b")]
    headers.update([("X-B", "1"), ("x-b", "2")])
    assert headers.all("x-b") == ["1", "2"]


def test_a_copy_is_its_own(headers):
    twin = headers.copy()
    twin.add("X-A", "4")
    twin["Host"] = "b"
    assert headers.all("x-a") == ["1", "2", "3"]
    assert headers["host"] == "a"
    headers.add("x-a", "5")
    assert twin.all("x-a") == ["1", "2", "3", "4"]


def test_setdefault_len_iteration_and_equality(headers):
    assert headers.setdefault("host", "b") == "a"
    assert headers.setdefault("X-New", "b") == "b"
    assert len(headers) == 4
    assert list(headers) == ["Host", "X-A", "Accept", "X-New"]
    assert Headers({"A": "1"}) == Headers([("a", "1")])
    assert Headers({"A": "1"}) != Headers({"A": "2"})
    assert Headers() != {}
    assert Headers(headers) == headers


def test_secrets_are_not_shown():
    shown = repr(Headers({"Authorization": "Bearer x", "Cookie": "sid=1", "Set-Cookie": "sid=2", "X-A": "open"}))
    assert "open" in shown
    assert "Bearer" not in shown
    assert "sid" not in shown


@pytest.mark.parametrize("name", ["", " X", "X ", "X:", "X\r\n", "X\0", "é", "X Y", '"X"', "X\n"])
def test_names_that_are_rejected(name):
    headers = Headers()
    for act in (lambda: headers.add(name, "a"), lambda: headers.update({name: "a"}), lambda: Headers([(name, "a")])):
        with pytest.raises(ValueError):
            act()
    with pytest.raises(ValueError):
        headers[name] = "a"


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\n", "\r", "a\0", "\x7f", "\x0b", "€", "\u2028"])
def test_values_that_are_rejected(value):
    headers = Headers()
    with pytest.raises(ValueError):
        headers.add("X", value)
    with pytest.raises(ValueError):
        headers["X"] = value
    with pytest.raises(ValueError):
        headers.setdefault("X", value)
    assert len(headers) == 0


def test_values_are_trimmed():
    assert Headers({"X": " \ta b\t "})["x"] == "a b"


NAMES = st.sampled_from(["A", "a", "B", "b", "Set-Cookie", "C-C"])


@given(st.lists(st.tuples(st.sampled_from(["add", "set", "discard"]), NAMES, st.sampled_from(["1", "2", ""]))))
def test_it_behaves_like_a_list_of_lines(acts):
    headers, model = Headers(), []
    for act, name, value in acts:
        if act != "add":
            where = next((i for i, (n, _) in enumerate(model) if n.lower() == name.lower()), len(model))
            model = [pair for pair in model if pair[0].lower() != name.lower()]
            if act == "set":
                model.insert(where, (name, value))
                headers[name] = value
            else:
                headers.discard(name)
        else:
            model.append((name, value))
            headers.add(name, value)
    for name in ("a", "b", "set-cookie", "c-c"):
        assert headers.all(name) == [v for n, v in model if n.lower() == name]
    assert sorted(headers.items()) == sorted(model)
    keys, lines = headers.keyed_lines()
    assert list(zip(keys, lines, strict=True)) == [(n.lower(), f"{n}: {v}") for n, v in headers.items()]
    assert headers == parsed(headers.items())


def test_other_libraries_take_headers_as_a_dict():
    headers = Headers([("Accept", "a"), ("X-B", "1"), ("accept", "b")])
    assert dict(headers) == {**headers} == {"Accept": "a, b", "X-B": "1"}
    assert headers.values() == ["a, b", "1"]


def test_names_that_are_never_indexed_are_kept_by_copies_and_are_no_field():
    headers = Headers([("X-Key", "1"), ("x-key", "2"), ("Other", "3")])
    assert headers.never_indexed == []
    headers.never_index({"x-key"})
    twin = headers.copy()
    twin.discard("x-key")
    assert (headers.never_indexed, twin.never_indexed) == (["x-key"], ["x-key"])
    assert headers.items() == [("X-Key", "1"), ("x-key", "2"), ("Other", "3")]
    assert twin == Headers([("Other", "3")])
    assert (headers.get(""), headers.all(""), len(headers), "" in headers) == (None, [], 2, False)
