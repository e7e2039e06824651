import logging
from http import HTTPStatus

import pytest

from gproxy.http.errors import REASONS, HTTPError
from gproxy.http.headers import Headers
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response


def test_assigning_the_body_drops_what_spoke_of_the_old_one():
    response = Response(
        200,
        b"abc",
        {
            "Content-Length": "3",
            "Digest": "x",
            "Content-Digest": "x",
            "Repr-Digest": "x",
            "Content-MD5": "x",
            "ETag": '"x"',
            "Content-Type": "t",
        },
    )
    response.body = map(bytes.upper, [b"abc"])
    assert list(response.headers) == ["ETag", "Content-Type"]
    assert response.read() == b"ABC"


def test_a_body_at_hand_is_bytes_and_a_stream_of_one_piece():
    """Code that wraps a stream also wraps bytes: a small body is in memory, a large one is a stream."""
    response = Response(200, b"abc")
    assert response.body == b"abc"
    assert list(response.body) == list(response.pieces) == [b"abc"]
    response.body = map(bytes.upper, response.body)
    assert response.read() == b"ABC"
    assert list(response.body) == [b"ABC"]


def test_pieces_of_a_stream_are_its_own():
    assert list(Response(200, iter([b"a", b"b"])).pieces) == [b"a", b"b"]


def test_what_is_read_is_plain_bytes():
    """Libraries in C, such as orjson, take no other ones."""
    response = Response(200, b"abc")
    assert type(response.body) is not bytes
    assert type(response.read()) is type(next(iter(response.body))) is type(next(iter(response.pieces))) is bytes


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"a": 1}, "dict does neither"),
        (5, "int does neither"),
        (lambda: b"", "function does neither"),
        (None, "NoneType does neither"),
        ("text", "not text; encode it"),
        ([b"a", "b"], "not text; encode it"),
    ],
)
def test_bodies_that_are_rejected(body, problem):
    """The error is raised at the assignment, not after the head is sent."""
    with pytest.raises(TypeError, match=problem):
        Response(200, body)
    response = Response(200, b"kept")
    with pytest.raises(TypeError, match=problem):
        response.body = body
    assert response.read() == b"kept"


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 999, -200])
def test_statuses_that_are_rejected(status):
    with pytest.raises(ValueError):
        Response(status)


@pytest.mark.parametrize("status", [0, 100, 101, 600, 1000])
def test_statuses_that_cannot_be_assigned(status):
    response = Response()
    with pytest.raises(ValueError):
        response.status = status
    assert response.status == 200


def test_another_status_has_another_phrase():
    response = Response.forwarded(200, "Quite all right", Headers(), b"")
    response.status = 200
    assert response.phrase == "Quite all right"
    response.status = HTTPStatus.NOT_FOUND
    assert (response.status, response.phrase) == (404, "")


@pytest.mark.parametrize("phrase", ["a\r\nX: y", "\n", "\u20ac"])
def test_a_phrase_cannot_split_the_head(phrase):
    response = Response()
    with pytest.raises(ValueError):
        response.phrase = phrase
    response.phrase = "Fine by me"
    assert response.phrase == "Fine by me"


@pytest.mark.parametrize("body", [bytearray(b"abc"), memoryview(b"abc")])
def test_what_is_like_bytes_is_bytes(body):
    assert Response(200, body).body == b"abc"


@pytest.mark.parametrize("base", [Headers, Request, Response])
def test_what_may_be_compiled_says_at_once_that_it_has_no_subclasses(base):
    with pytest.raises(TypeError, match=f"{base.__name__} cannot be subclassed"):
        type("Mine", (base,), {})


def test_defaults_and_headers():
    response = Response()
    assert (response.status, response.body, response.phrase, len(response.headers)) == (200, b"", "", 0)
    fields = Headers({"A": "b"})
    assert Response(204, headers=fields).headers is fields
    assert Response(headers=[("A", "1"), ("A", "2")]).headers.all("a") == ["1", "2"]
    with pytest.raises(ValueError):
        Response(headers={"A": "b\r\nSet-Cookie: c"})


def test_a_backends_own_status_is_passed_on():
    assert Response.forwarded(799, "Hm", Headers(), b"").status == 799


def test_callbacks_run_once_and_the_newest_first():
    response, order = Response(), []
    for n in range(3):
        response.on_close(lambda n=n: order.append(n))
    response.close()
    response.close()
    assert order == [2, 1, 0]


def test_a_callback_that_fails_keeps_none_from_running(caplog):
    response, order = Response(), []
    response.on_close(lambda: order.append("last"))
    response.on_close(lambda: 1 / 0)
    response.on_close(lambda: order.append("first"))
    with caplog.at_level(logging.ERROR, "gproxy"):
        response.close()
    assert order == ["first", "last"]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_that_is_cut_off_keeps_none_from_running():
    response, order = Response(), []

    def cut():
        raise KeyboardInterrupt

    response.on_close(lambda: order.append("last"))
    response.on_close(cut)
    with pytest.raises(KeyboardInterrupt):
        response.close()
    assert order == ["last"]


def test_read_joins_and_closes():
    closed = []
    response = Response(200, iter([b"a", b"b"]))
    response.on_close(lambda: closed.append(1))
    assert response.read() == b"ab"
    assert response.read() == response.body == b"ab"
    assert closed == [1]


def test_read_closes_even_if_the_body_fails():
    def body():
        yield b"a"
        raise OSError("broken")

    closed = []
    response = Response(200, body())
    response.on_close(lambda: closed.append(1))
    with pytest.raises(OSError, match="broken"):
        response.read()
    assert closed == [1]


@pytest.mark.parametrize("status", [200, 304, 399, 600, 0])
def test_an_error_is_an_error(status):
    with pytest.raises(ValueError):
        HTTPError(status)


def test_an_error_says_why():
    error = HTTPError(403, "not you", {"X-A": "b"})
    assert (str(error), error.reason, error.headers["x-a"]) == ("403 not you", "forbidden", "b")
    assert str(HTTPError(500)) == "500"
    assert HTTPError(418).reason == "handler"
    assert HTTPError(403, reason="quota").reason == "quota"
    assert set(REASONS) - {499} <= set(PHRASES)
