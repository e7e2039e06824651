import pytest

from gproxy.config.types import Bytes
from gproxy.handlers.body_limit import BodyLimit
from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import HTTPError
from gproxy.testing import answer, request

TEN = BodyLimit(limit=Bytes(10))


def test_a_body_of_the_limit():
    assert TEN(request("POST", body=b"x" * 10), answer()).status == 200


def test_a_longer_body_is_rejected():
    behind = answer()
    with pytest.raises(HTTPError) as caught:
        TEN(request("POST", body=b"x" * 11), behind)
    assert (caught.value.status, behind.requests) == (413, [])


class Chunks:
    done = False
    trailers = ()

    def next_piece(self):
        return b"x" * 4


def test_a_body_of_unknown_length_is_rejected_when_it_exceeds_the_limit():
    asked = request("POST")
    asked.body = Body(reader=Chunks())
    TEN(asked, answer())
    with pytest.raises(HTTPError) as caught:
        asked.body.read()
    assert caught.value.status == 413
    assert asked.body.received == 12


def test_chunks_that_arrived_with_the_head_are_counted():
    asked = request("POST")
    asked.body = Body(b"x" * 11, Chunks())
    behind = answer()
    with pytest.raises(HTTPError) as caught:
        TEN(asked, behind)
    assert (caught.value.status, behind.requests) == (413, [])


@pytest.mark.parametrize(("before", "after"), [(0, 10), (5, 5), (20, 10)])
def test_the_stricter_limit_stays(before, after):
    asked = request("POST", body=b"x")
    asked.body.limit = before
    TEN(asked, answer())
    assert asked.body.limit == after


def test_the_shared_empty_body_gets_no_limit():
    TEN(request(), answer())
    assert NO_BODY.limit == 0


def test_wrong_options():
    with pytest.raises(ValueError, match=r"^limit: "):
        BodyLimit(limit=Bytes(0))
