"""The action of a route with an app: what the app sees, what the client gets, how each ends."""

import sys
from wsgiref.validate import validator

import pytest

from gproxy.apps.output import MOST_WRITTEN
from gproxy.http.body import Body
from gproxy.http.errors import HTTPError
from gproxy.http.request import request as made_request


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def test_a_whole_response_is_bytes(mounted):
    response = mounted(hello)(made_request())
    assert (response.status, response.raw_body, response.headers["content-type"]) == (200, b"hello", "text/plain")


def test_the_names_in_the_access_line(mounted):
    request = made_request()
    mounted(hello)(request)
    assert (request.exchange.backend, request.upstream, request.backend) == ("app", "", None)


def test_the_validator_finds_nothing(mounted):
    response = mounted(validator(hello))(made_request("GET", "/a%20b?c=d"))
    assert b"".join(response.pieces) == b"hello"
    response.close()


def test_pieces_come_as_they_are_yielded(mounted):
    log = []

    def app(environ, start_response):
        start_response("200 OK", [])
        for piece in (b"", b"one", b"", b"two"):
            log.append(piece)
            yield piece

    response = mounted(app)(made_request())
    pieces = iter(response.pieces)
    assert (next(pieces), log) == (b"one", [b"", b"one"])
    assert list(pieces) == [b"two"]


def test_written_pieces_come_first(mounted):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one")
        write(b"two")
        return [b"three"]

    response = mounted(app)(made_request())
    assert b"".join(response.pieces) == b"onetwothree"


def test_an_empty_written_piece_ends_no_body(mounted):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])(b"")
        return [b"hello"]

    assert mounted(app)(made_request()).raw_body == b"hello"


def test_iteration_ends_with_the_content_length(mounted):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "6")])
        yield b"one"
        yield b"two"
        raise AssertionError("nobody waits for this")

    assert b"".join(mounted(app)(made_request()).pieces) == b"onetwo"


@pytest.mark.parametrize("pieces", [[b"toolong"], [b"to", b"olong"]])
def test_more_bytes_than_promised_are_cut_off(mounted, pieces, caplog):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return pieces

    assert b"".join(mounted(app)(made_request()).pieces) == b"too"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "exceeds its Content-Length of 3" in caplog.text


@pytest.mark.parametrize("pieces", [[b"one"], [b"o", b"ne"]])
def test_fewer_bytes_than_promised_are_an_error(mounted, pieces):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return pieces

    with pytest.raises(RuntimeError, match="has 3 bytes, expected 4"):
        list(mounted(app)(made_request()).pieces)


def test_head_keeps_the_length_without_a_body(mounted):
    response = mounted(hello)(made_request("HEAD"))
    assert (response.raw_body, response.headers["content-length"]) == (b"", "5")


@pytest.mark.parametrize(
    ("status", "headers"),
    [("200 OK", [("Connection", "close")]), ("200 OK", [("A", "b\r\nC: d")]), ("99", []), ("600 No", []), (200, [])],
)
def test_what_a_response_cannot_have_is_an_error(mounted, status, headers):
    def app(environ, start_response):
        start_response(status, headers)
        return [b""]

    with pytest.raises((ValueError, TypeError)):
        mounted(app)(made_request())


def test_no_start_response_is_an_error(mounted):
    with pytest.raises(RuntimeError, match="start_response"):
        mounted(lambda environ, start_response: [b"x"])(made_request())


def test_a_second_start_response_needs_exc_info(mounted):
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 No", [("A", "b")], sys.exc_info())
        with pytest.raises(RuntimeError, match="twice"):
            start_response("200 OK", [])
        return [b"sorry"]

    response = mounted(app)(made_request())
    assert (response.status, response.phrase, response.headers["a"]) == (500, "No", "b")


def test_after_the_beginning_exc_info_raises(mounted):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 No", [], sys.exc_info())

    with pytest.raises(KeyError):
        list(mounted(app)(made_request()).pieces)


def test_sys_exit_is_an_error(mounted):
    def early(environ, start_response):
        sys.exit("enough")

    def late(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        sys.exit(3)

    with pytest.raises(RuntimeError, match=r"sys.exit\('enough'\)"):
        mounted(early)(made_request())
    with pytest.raises(RuntimeError, match=r"sys.exit\(3\)"):
        list(mounted(late)(made_request()).pieces)


class Result:
    def __init__(self, pieces, error=None):
        self.closed = 0
        self.pieces = iter(pieces)
        self.error = error

    def __iter__(self):
        return self

    def __next__(self):
        if self.error:
            raise self.error
        return next(self.pieces)

    def close(self):
        self.closed += 1


def test_close_runs_once_whatever_happens(mounted):
    for result in (Result([b"a", b"b"]), Result([]), Result([], KeyError("x"))):

        def app(environ, start_response, result=result):
            start_response("200 OK", [])
            return result

        try:
            response = mounted(app)(made_request())
        except KeyError:
            pass
        else:
            assert result.closed == 0
            response.close()
            response.close()
        assert result.closed == 1


class Failing:
    """A reader of a body that fails."""

    done, trailers = False, ()

    def next_piece(self):
        raise HTTPError(413)


@pytest.mark.parametrize("answers", [True, False])
def test_a_failed_read_decides_about_the_status(mounted, answers):
    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except Exception:  # noqa: BLE001 as a framework does
            if not answers:
                raise KeyError("anything") from None
        start_response("500 Oh", [])
        return [b"catch-all"]

    request = made_request("POST")
    request.body = Body(reader=Failing(), length=5)
    with pytest.raises(HTTPError) as caught:
        mounted(app)(request)
    assert caught.value.status == 413


def test_another_answer_to_a_failed_read_stays(mounted):
    def app(environ, start_response):
        with pytest.raises(HTTPError):
            environ["wsgi.input"].read()
        start_response("400 Bad", [])
        return [b"own words"]

    request = made_request("POST")
    request.body = Body(reader=Failing(), length=5)
    assert mounted(app)(request).status == 400


class Rude(Result):
    def close(self):
        super().close()
        sys.exit("enough")


@pytest.mark.parametrize("kind", [Result, Rude])
def test_close_runs_for_a_response_that_a_handler_drops(mounted, kind, caplog):
    result = kind([b"a", b"b"])

    def app(environ, start_response):
        start_response("200 OK", [])
        return result

    request = made_request()
    mounted(app)(request)
    request.end()
    request.end()
    assert result.closed == 1
    assert ("the app's close() failed" in caplog.text) is (kind is Rude)


def test_bytes_written_in_a_generator_come_before_its_first_piece(mounted):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one")
        yield b""
        write(b"two")
        yield b"three"
        with pytest.raises(RuntimeError, match="while its iterable is read"):
            write(b"late")

    assert b"".join(mounted(app)(made_request()).pieces) == b"onetwothree"


def test_a_generator_may_only_write(mounted):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])(b"one")
        yield b""

    assert mounted(app)(made_request()).raw_body == b"one"


def test_more_than_a_mebibyte_is_not_kept(mounted):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"x" * MOST_WRITTEN)
        write(b"y")
        return []

    with pytest.raises(RuntimeError, match="more than 1048576 bytes"):
        mounted(app)(made_request())


@pytest.mark.parametrize("phrase", ["a\rb", "a\nb", "a\0b", "\u20ac", "a\x7f"])
def test_a_phrase_has_characters_of_a_field(mounted, phrase):
    def app(environ, start_response):
        start_response(f"200 {phrase}", [])
        return [b""]

    with pytest.raises(ValueError, match=r"status|phrase"):
        mounted(app)(made_request())


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_a_length_is_checked_without_a_body_too(mounted, method, status):
    def app(environ, start_response):
        start_response(status, [("Content-Length", "5, x")])
        return []

    with pytest.raises(ValueError, match="wrong Content-Length"):
        mounted(app)(made_request(method))
