"""The copy of a request as a test; tests/process/test_process_inspector.py runs such copies."""

import ast

import pytest

from gproxy.config.load import load
from gproxy.dev.pytest_writer import pytest_test
from gproxy.dev.python_text import call, literal
from gproxy.dev.stable_values import Stable
from unit.dev.entries import CLAIMS, body, entry, settings_of


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


def test_the_whole_test_of_a_small_exchange(settings):
    down = [("header X-Tenant", None, "shop"), ("header Cookie", "a", None)]
    up = [("header X-Served", None, "me"), ("header Date", "x", "y")]
    given = entry(steps=[{"name": "tenant", "error": "", "down": down, "up": up}])
    given["attempts"][0]["request"]["headers"].append(["X-Tenant", "shop"])
    given["response"] = {**given["response"], "headers": [["Content-Type", "application/json"], ["X-Served", "me"]]}
    assert (
        pytest_test(given, settings)
        == '''"""GET /users/1, as gproxy dev saw it on 2026-11-29 at 16:40:00."""

from gproxy.testing import answer


def test_get_users_1(gproxy):
    users = gproxy.backend("users", answer(200, b"{}", {"Content-Type": "application/json"}))
    response = gproxy.get("/users/1", {"Host": "localhost:8080"}, client="127.0.0.1")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Served"] == "me"
    assert response.json() == {}
    assert gproxy.line["route"] == "users"
    sent = users.requests[-1]
    assert sent.headers["X-Tenant"] == "shop"
    assert "Cookie" not in sent.headers
'''
    )


def test_a_token_is_made_anew_and_another_credential_is_sent_at_its_time(settings):
    bearer = ["Authorization", f"Bearer {CLAIMS}"]
    given = entry(auth="jwt", request={"line": "", "headers": [bearer], "body": None})
    text = pytest_test(given, settings)
    assert 'token = gproxy.token("alice", role="admin")' in text
    assert 'f"Bearer {token}"' in text
    assert CLAIMS not in text
    assert "@pytest" not in text
    text = pytest_test(entry(request={"line": "", "headers": [["X-API-Key", "k"]], "body": None}), settings)
    assert '@pytest.mark.gproxy(at="2026-11-29T16:40:00.000Z")' in text
    assert "It is a secret" in text


def test_settings_in_another_file_are_named(tmp_path):
    assert '@pytest.mark.gproxy(file="shop.ini")' in pytest_test(entry(), settings_of(tmp_path, name="shop.ini"))


def test_an_app_of_the_command_line_is_in_the_marker(tmp_path):
    (tmp_path / "gproxy.ini").write_text("[route:app]\npath = /\n")
    settings = load(tmp_path / "gproxy.ini", builtins=[], environ={}, overrides={("route:app", "app"): "shop:app"})
    expected = r'@pytest.mark.gproxy("[route:app]\npath = /\napp = shop:app\n")'
    assert expected in pytest_test(entry(route="app", attempts=[], upstream="", backend="app"), settings)


def test_a_limit_is_reached_by_requests_before(settings):
    text = pytest_test(entry(status=429, reason="rate_limited", attempts=[], bodies=[body(b"{}")]), settings)
    assert "if response.status == 429:\n            break" in text


def test_failed_attempts_are_scripted_and_their_lines_expected(settings):
    given = entry()
    failed = {**given["attempts"][0], "error": "connect_refused", "response": None, "request": None}
    text = pytest_test(entry(attempts=[failed, given["attempts"][0]]), settings)
    assert 'gproxy.expect_warning("refuses connections")' in text
    assert "refused(), answer(200" in text
    failed = {**failed, "error": "tls_certificate_error"}
    with pytest.raises(ValueError, match="ended with tls_certificate_error"):
        pytest_test(entry(attempts=[failed]), settings)


def test_the_page_of_a_traceback_is_not_compared(settings):
    text = pytest_test(entry(status=500, reason="handler_error"), settings)
    assert "assert response.status == 500\n    assert gproxy.line" in text


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"reason": "breaker_open", "status": 503}, "depended on the state of the gateway"),
        ({"response": None}, "had no response"),
        ({"status": 101}, "a tunnel"),
        ({"request": {"line": "", "headers": [], "body": 0}, "bodies": [body(b"x", is_whole=False)]}, "longer than"),
        ({"omitted_attempts": 1}, "more attempts than are kept"),
    ],
)
def test_what_no_test_can_repeat(settings, changes, problem):
    with pytest.raises(ValueError, match=problem):
        pytest_test(entry(**changes), settings)


def answered(data, headers):
    """An entry whose backend answers so."""
    given = entry(bodies=[body(data)])
    given["response"]["headers"] = headers
    return given


@pytest.mark.parametrize(
    "data", [b'{"load": NaN}', b'{"load": 1e999}', b"[" * 200 + b"]" * 200, b'{"a":' * 600 + b"1" + b"}" * 600]
)
def test_json_that_python_has_no_good_literal_for_is_compared_as_bytes(settings, data):
    text = pytest_test(answered(data, [["Content-Type", "application/json"]]), settings)
    assert f"assert response.body == {literal(data) if len(data) < 60 else 'BODY'}\n" in text


def test_a_body_that_is_not_compressed_as_its_field_says_is_compared_as_it_is(settings):
    given = answered(b"plain", [["Content-Encoding", "gzip"]])
    given["attempts"] = []
    assert 'assert response.body == b"plain"' in pytest_test(given, settings)


def test_no_exception_breaks_the_comment_that_names_it(settings):
    step = {
        "name": "tenant",
        "depth": 0,
        "calls": 0,
        "status": 0,
        "error": "ValueError: a\0b\ud800\nc",
        "down": [],
        "up": [],
    }
    text = pytest_test(entry(status=500, reason="handler_error", steps=[step]), settings)
    assert "# Handler tenant raised ValueError: a?b? c\n" in text
    ast.parse(text.encode())


@pytest.mark.parametrize("path", ['/x"""\\', "/import os", "/é\u2028", "/'''", "/{a}", "/\t\n"])
def test_no_path_becomes_code(settings, path):
    text = pytest_test(entry(target=path, route="", attempts=[], response=None, status=404) | {
        "response": {"status": 404, "phrase": "", "headers": [["X-\u00e9", path]], "body": None}}, settings)  # fmt: skip
    tree = ast.parse(text)
    assert [type(one) for one in tree.body] == [ast.Expr, ast.FunctionDef]
    called = next(node for node in ast.walk(tree) if isinstance(node, ast.Call) and "get" in ast.unparse(node.func))
    assert ast.literal_eval(called.args[0]) == path


@pytest.mark.parametrize(
    "value",
    [
        "plain", 'with "quotes"', "back\\slash", "line\nbreak", "\ud800", "two\n\U0001f600", "it's \x85\u2028", b"bytes", b"'", b'"', bytes(range(256)),
        {"a": [1, 2.5, None, True], "b": {"c": "x" * 200}}, ["y" * 60, "z" * 60], b"a\nb\n" * 60, -0.0,
    ],
)  # fmt: skip
def test_a_literal_is_the_value(value):
    assert ast.literal_eval(literal(value)) == value
    nested = call("f", literal({"k": [value]}), "1")
    made = next(node for node in ast.walk(ast.parse(nested)) if isinstance(node, ast.Call))
    assert ast.literal_eval(made.args[0]) == {"k": [value]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice", True), ("text/html; charset=utf-8", True), ("default-src 'self'", True), ("v1.2.3", True),
        ("an-id", False), ("2026-11-29T16:40:00Z", False), ("Sun, 29 Nov 2026 16:40:00 GMT", False),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", False), ("1795970386", False), ("eyJhbGciOiJIUzI1NiJ9.x", False),
        ("YWxhZGRpbjpvcGVuc2VzYW1lMTIzNDU2", False),
    ],
)  # fmt: skip
def test_texts_that_vary_are_not_compared(text, expected):
    assert Stable("an-id", "X-Request-ID").is_text(text) is expected


def test_fields_and_values_that_vary_are_not_compared():
    stable = Stable("an-id", "X-Request-ID")
    assert not any(map(stable.is_field, ["date", "x-request-id", "RateLimit-Remaining", "Via", "X-Rate-Limit", "ETag"]))
    assert stable.is_field("X-Tenant")
    assert stable.is_value({"a": [1, "x", None, 2.0]})
    assert not stable.is_value({"took": 0.0312})
    assert not stable.is_value({"at": 1795970386})
