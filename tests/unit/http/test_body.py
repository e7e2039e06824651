import pytest

from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import BadMessage, HTTPError, Incomplete


class Fed:
    """A reader that gives these pieces, or raises them."""

    def __init__(self, *pieces, trailers=()):
        self.pieces = list(pieces)
        self.done = not pieces
        self.trailers = []
        self._trailers = list(trailers)

    def next_piece(self):
        if self.done:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        self.done = not self.pieces
        if self.done:
            self.trailers = self._trailers
        return piece


def test_no_body():
    assert NO_BODY.read() == NO_BODY.next_piece() == NO_BODY.read(5) == b""
    assert NO_BODY.done
    assert NO_BODY.replayable
    assert NO_BODY.length == 0
    assert list(NO_BODY) == []
    assert NO_BODY.buffer(0) == b""


def test_sizes_that_are_read():
    body = Body(reader=Fed(b"abc", b"def", b"ghi"), length=9)
    assert body.read(0) == b""
    assert body.read(2) == b"ab"
    assert body.at_hand == b"c"
    assert body.received == 3
    assert body.read(5) == b"cdefg"
    assert body.next_piece() == b"hi"
    assert body.done
    assert body.read() == body.read(1) == b""


def test_iteration_gives_pieces_as_they_come():
    assert list(Body(reader=Fed(b"abc", b"d"))) == [b"abc", b"d"]
    body = Body(reader=Fed(b"abc", b"d"))
    body.read(1)
    assert list(body) == [b"bc", b"d"]


def test_what_came_with_the_head_comes_first():
    body = Body(b"ab", Fed(b"c"), 3)
    assert body.length == 3
    assert not body.done
    assert body.next_piece() == b"ab"
    assert body.read() == b"c"


def test_buffer_keeps_it():
    body = Body(reader=Fed(b"abc", b"def"))
    assert body.length is None
    assert not body.replayable
    assert body.buffer(6) == b"abcdef"
    assert body.replayable
    assert body.length == 6
    assert body.buffer(6) == body.read() == b"abcdef"
    assert body.read() == b""
    body.rewind()
    assert body.read(2) == b"ab"
    assert body.buffer(10) == b"abcdef"


def test_buffer_of_too_much():
    body = Body(reader=Fed(b"abc", b"def"))
    with pytest.raises(HTTPError) as caught:
        body.buffer(5)
    assert caught.value.status == 413
    assert not body.replayable
    assert body.read() == b"abcdef"


def test_rewind_without_buffer_loses_nothing():
    body = Body(b"ab", Fed(b"c"), 3)
    body.rewind()
    assert body.read() == b"abc"


def test_limit():
    body = Body(reader=Fed(b"abc", b"def"), limit=5)
    assert body.next_piece() == b"abc"
    with pytest.raises(HTTPError) as caught:
        body.next_piece()
    assert caught.value.status == 413
    exact = Body(reader=Fed(b"abc", b"de"), limit=5)
    assert exact.read() == b"abcde"


@pytest.mark.parametrize(("raised", "reason"), [(BadMessage("odd"), "bad_request"), (Incomplete("cut"), "client_gone")])
def test_a_broken_body_is_a_400(raised, reason):
    body = Body(reader=Fed(b"abc", raised))
    with pytest.raises(HTTPError) as caught:
        body.read()
    assert (caught.value.status, caught.value.reason) == (400, reason)


def test_it_asks_once_and_only_when_the_client_is_needed():
    asked = []
    body = Body(b"ab", Fed(b"c", b"d"), on_first_read=lambda: asked.append(1))
    assert body.next_piece() == b"ab"
    assert not asked
    assert body.next_piece() == b"c"
    assert body.read() == b"d"
    assert asked == [1]


def test_trailers_are_known_at_the_end_and_only_those_that_may_be():
    body = Body(
        reader=Fed(b"a", trailers=[("X-T", "1"), ("Content-Length", "5"), ("host", "b"), ("X_Forwarded_For", "c")])
    )
    assert body.trailers == []
    body.read()
    assert body.trailers == [("X-T", "1")]


def test_more_trailers_can_be_forbidden():
    body = Body(reader=Fed(b"a", trailers=[("X-T", "1"), ("X-User", "2")]), forbidden_trailers=frozenset({"x-user"}))
    body.read()
    assert body.trailers == [("X-T", "1")]


def test_bytes_that_came_with_the_head_count_as_received_and_bytes_in_memory_do_not():
    assert Body(b"ab", Fed(b"c")).received == 2
    assert Body(b"ab").received == 0


@pytest.mark.parametrize(
    ("failure", "status"), [(BadMessage("bad chunk"), 400), (Incomplete("closed"), 400), (HTTPError(408, "slow"), 408)]
)
@pytest.mark.parametrize("read", [Body.next_piece, lambda body: body.collect_ahead(100, lambda _: True), Body.read])
def test_a_read_that_failed_fails_again(failure, status, read):
    body = Body(reader=Fed(b"abc", failure, b"rest"))
    body.next_piece()
    for _ in range(3):
        with pytest.raises(HTTPError) as caught:
            read(body)
        assert caught.value.status == status
        assert not body.done


def test_a_body_over_its_limit_stays_so_at_its_end():
    body = Body(reader=Fed(b"abc", b"def"), limit=5)
    for _ in range(3):
        with pytest.raises(HTTPError, match="413"):
            body.collect_ahead(100, lambda _: True)
        assert not body.done
    assert body.reader.done
