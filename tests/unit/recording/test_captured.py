"""The record that is made of a capture, in the test kit: heads as sent, bodies up to the limit, times, trailers."""

import pytest

from gproxy.recording.captured import recorded
from gproxy.recording.record import RecordedBody
from gproxy.testing import answer, refused

SETTINGS = """
[trace]
timing_token = timing-token-of-16-bytes
[upstream:users]
backends = http://10.0.0.1:81, http://10.0.0.2:82
retry_on = connect
[route:users]
path = /users
upstream = users
strip_prefix = yes
"""
pytestmark = pytest.mark.gproxy(SETTINGS)


class Rule:
    """A rule that makes a record of each exchange."""

    routes = ()

    def __init__(self, limit):
        self.body_limit = self.limit = limit
        self.records = []

    def wants(self, request):
        return True

    def take(self, capture, exchange):
        self.records.append(recorded(capture, exchange, self.limit, (3, 7)))


def record_of(gproxy, limit, ask):
    gproxy._whole.parts.captures.add(rule := Rule(limit))
    ask()
    (found,) = rule.records
    return found


def test_a_record_has_what_came_what_was_sent_and_what_went_out(gproxy):
    gproxy.expect_warning("refused")
    gproxy.backend("users", refused(), answer(200, b"0123456789", {"X-A": "1"}))
    one = record_of(gproxy, 8, lambda: gproxy.post("/users/a?b=c", b"body", {"X-B": "2"}))
    assert (one.route, one.upstream, one.status, one.worker, one.generation) == ("users", "users", 200, 3, 7)
    assert (one.request.method, one.request.target, one.request.protocol) == ("POST", "/users/a?b=c", "HTTP/1.1")
    assert ("X-B", "2") in one.request.headers
    assert one.request.body == RecordedBody.of(b"body")
    first, second = one.attempts
    assert (first.request, first.response, first.error) == (None, None, "connect_refused")
    assert (second.request.target, second.request.body) == ("/a?b=c", RecordedBody.of(b"body"))
    assert ("X-Forwarded-Prefix", "/users") in second.request.headers
    assert second.response.body == one.response.body == RecordedBody(b"01234567", 10, truncated=True)
    assert ("X-A", "1") in second.response.headers
    assert ("X-Request-ID", one.id) in one.response.headers


def test_without_a_limit_there_are_no_bodies(gproxy):
    gproxy.backend("users", answer(200, b"0123456789"))
    one = record_of(gproxy, 0, lambda: gproxy.post("/users", b"body"))
    assert one.request.body is one.response.body is one.attempts[0].response.body is None


def test_a_response_to_head_has_no_body(gproxy):
    gproxy.backend("users", answer(404))
    one = record_of(gproxy, 8, lambda: gproxy.request("HEAD", "/nowhere"))
    assert (one.response.status, one.response.body, one.attempts) == (404, None, [])
