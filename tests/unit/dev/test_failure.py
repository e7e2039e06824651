"""What a developer is shown of an exception: user code first, bounded, without secrets."""

import json
import re
import sys
from urllib.parse import quote

import pytest

from gproxy.dev.failure import Failure, secrets_of
from gproxy.dev.step_changes import StepChanges
from gproxy.observe.log import masking
from gproxy.testing import request


def failure(error, hide=str, **given):
    return Failure.of(error, request(**given), hide)


def raised(function, *arguments):
    with pytest.raises(BaseException) as caught:
        function(*arguments)
    return caught.value


def fails(value):
    text = "first"
    return text + value  # the line


def test_frames_of_user_code_come_with_source_around_their_line():
    (error,) = failure(raised(fails, 1)).errors
    assert error.text == 'TypeError: can only concatenate str (not "int") to str'
    frame = error.own[0]
    assert (frame.function, frame.code) == ("fails", "return text + value  # the line")
    assert frame.file.endswith("test_failure.py")
    assert [number - frame.line for number, _ in frame.source] == list(range(-5, 6))
    assert dict(frame.source)[frame.line - 1] == '    text = "first"'


def test_frames_of_libraries_are_not_the_users():
    import json

    (error,) = failure(raised(json.loads, "{")).errors
    assert [frame.function for frame in error.own] == ["raised"]
    assert "raw_decode" in [frame.function for frame in error.frames]
    assert error.frames[0].code == "obj, end = self.scan_once(s, idx)"


def test_an_exception_without_a_traceback():
    (error,) = failure(TypeError("wrong result")).errors
    assert (error.text, list(error.frames)) == ("TypeError: wrong result", [])


def test_the_text_of_a_syntax_error_begins_with_its_message():
    error = raised(compile, "x = 1\na b\n", "mine.py", "exec")
    error.add_note("a note")
    first, *others = failure(error).errors[0].text.splitlines()
    assert first == "SyntaxError: invalid syntax"
    assert (others[0], others[1].strip(), others[2].strip()) == ("a note", 'File "mine.py", line 2', "a b")


def chained(*, explicit):
    try:
        fails(1)
    except TypeError as error:
        if explicit:
            raise KeyError("second") from error
        raise KeyError("second")  # noqa: B904 the context is the subject


@pytest.mark.parametrize(("explicit", "link"), [(True, "caused by"), (False, "while handling")])
def test_the_chain_of_causes(explicit, link):
    errors = failure(raised(lambda: chained(explicit=explicit))).errors
    assert [(one.link, one.text.partition(":")[0]) for one in errors] == [("", "KeyError"), (link, "TypeError")]


def test_a_suppressed_context_is_no_cause():
    def quiet():
        try:
            fails(1)
        except TypeError:
            raise KeyError("second") from None

    assert len(failure(raised(quiet)).errors) == 1


class Odd(Exception):
    def __str__(self):
        raise ValueError("no text")


def test_an_exception_that_has_no_text():
    assert "Odd: <exception str() failed>" in failure(Odd()).errors[0].text


def test_user_code_is_shown_however_deep_a_library_fails():
    from copy import deepcopy

    nested = []
    for _ in range(100_000):
        nested = [nested]
    (error,) = failure(raised(deepcopy, nested)).errors
    assert "RecursionError" in error.text
    assert (len(error.frames), error.own[-1].function) == (40, "raised")


def test_the_members_of_a_group_are_shown():
    members = [raised(fails, 1), KeyError("other")]
    errors = failure(ExceptionGroup("two have failed", members)).errors
    assert [(one.link, one.text) for one in errors] == [
        ("", "ExceptionGroup: two have failed (2 sub-exceptions)"),
        ("in the group", 'TypeError: can only concatenate str (not "int") to str'),
        ("in the group", "KeyError: 'other'"),
    ]
    assert errors[1].own[0].code == "return text + value  # the line"


def deep(depth):
    if not depth:
        raise ValueError("x" * 100_000)
    try:
        deep(depth - 1)
    except ValueError as error:
        raise ValueError("y" * 100_000) from error


def test_all_is_bounded():
    sys.setrecursionlimit(5000)
    fields = {f"X-{number}": "v" * 5000 for number in range(500)}
    found = failure(raised(deep, 300), headers=fields, target=f"/{'p' * 10_000}")
    assert (len(found.errors), len(found.fields), len(found.line)) == (6, 60, 4000)
    assert max(len(one.frames) for one in found.errors) <= 40
    assert max(len(one.text) for one in found.errors) == 4000
    assert max(len(value) for _, value in found.fields) == 500


def test_secrets_are_masked():
    one = request(
        "GET",
        "/x?token=geheim1&page=2&api%5Fkey=geheim2",
        {
            "Authorization": "Bearer abcdefgh",
            "Cookie": "sid=cookievalue; theme=darkness",
            "X-API-Key": "k1",
            "X-Plain": "a settings-secret b",
            "Referer": "http://localhost/?code=geheim3",
        },
    )
    assert secrets_of(one) >= {"Bearer abcdefgh", "abcdefgh", "cookievalue"}
    basic = secrets_of(request("GET", "/", {"Authorization": "Basic YWxpY2U6d29uZGVybGFuZA=="}))
    assert basic >= {"Basic YWxpY2U6d29uZGVybGFuZA==", "YWxpY2U6d29uZGVybGFuZA==", "wonderland"}
    error = KeyError("abcdefgh and cookievalue and settings-secret")
    found = Failure.of(error, one, masking(secrets_of(one) | {"settings-secret"}))
    assert found.line == "GET /x?token=***&page=2&api%5Fkey=*** HTTP/1.1"
    assert found.errors[0].text == "KeyError: '*** and *** and ***'"
    assert dict(found.fields) == {
        "Authorization": "***", "Cookie": "***", "X-API-Key": "***", "X-Plain": "a *** b",
        "Referer": "http://localhost/", "Host": "gateway.test",
    }  # fmt: skip


class Account:
    """A time account with the runner of the steps."""

    def __init__(self, runner):
        self.runners = [runner]


def test_what_each_handler_has_changed():
    one = request("GET", "/a?token=geheim1", {"X-Old": "1"})
    steps = StepChanges(one)
    one.exchange.account = Account(steps)

    def tenant(request, next):
        request.headers["X-Tenant"] = "a settings-secret"
        request.headers["X-Api-Key"] = "k"
        return next(request)

    def broken(request, next):
        request.path, request.query = "/b", "token=geheim2"
        request.headers.discard("x-old")
        raise KeyError("no")

    def same(request, next):
        return next(request)

    def inner(request):
        return steps.run("broken", broken, request, None)

    with pytest.raises(KeyError) as caught:
        steps.run("tenant", tenant, one, lambda request: steps.run("same", same, request, inner))
    found = Failure.of(caught.value, one, masking({"settings-secret"}))
    assert found.steps == [
        ("tenant", ["+ header X-Tenant: a ***", "+ header X-Api-Key: ***"]),
        ("broken", ["path: /a → /b", "query: token=*** → token=***", "- header X-Old: 1"]),
    ]


@pytest.mark.parametrize("write", [repr, json.dumps, lambda text: f"?q={quote(text, safe='')}"])
def test_secrets_are_masked_as_other_programs_write_them(write):
    secret = 'it\'s "secret" \\ / +'
    one = request("GET", "/", {"Cookie": f"sid={secret}"})
    hide = masking(secrets_of(one))
    text = failure(ValueError(write(f"sid={secret}")), hide).errors[0].text
    assert not re.search("it.*secret", text), text
