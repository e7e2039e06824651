"""The rule of a recording: the conditions, the limit, and what is lost without room."""

import json

import pytest

from gproxy.http.exchange import Exchange
from gproxy.http.request import request
from gproxy.recording.pseudonyms import Pseudonyms
from gproxy.recording.redaction import Redaction
from gproxy.recording.rule import MOST_BODY, RecordRule, Selection


class Captured:
    """A capture of a request that no backend has got."""

    attempts = ()
    body = response = response_body = None
    omitted_attempts = 0
    started = 0.0

    def __init__(self, asked):
        self.request = asked
        self.received_body = asked.body


def ended(status=200, duration=0.1):
    exchange = Exchange(0.0, "192.0.2.1", "GET", "/", "HTTP/1.1")
    exchange.status, exchange.duration = status, duration
    return exchange


def rule(put=lambda _: True, *, limit=10, body_limit=0, **options):
    return RecordRule(Selection.of(options), Redaction(Pseudonyms(b"k")), put, limit=limit, body_limit=body_limit)


@pytest.mark.parametrize(
    ("options", "target", "client", "expected"),
    [
        ({}, "/any", "unix", True),
        ({"path": "/users/*"}, "/users/1/a", "192.0.2.1", True),
        ({"path": "/users/*"}, "/user", "192.0.2.1", False),
        ({"path": "*/a*b/*"}, "/x/a-b/c", "192.0.2.1", True),
        ({"path": "/a.c"}, "/abc", "192.0.2.1", False),
        ({"client": "192.0.2.0/24"}, "/", "192.0.2.7", True),
        ({"client": "::ffff:192.0.2.0/120"}, "/", "192.0.2.7", True),
        ({"client": "192.0.2.1"}, "/", "192.0.2.7", False),
        ({"client": "192.0.2.1"}, "/", "unix", False),
        ({"client": "unix"}, "/", "unix", True),
        ({"client": "2001:db8::/32"}, "/", "2001:db8::1", True),
    ],
)
def test_conditions_on_requests(options, target, client, expected):
    assert rule(**options).wants(request("GET", target, client=client)) is expected


@pytest.mark.parametrize(
    ("options", "status", "duration", "expected"),
    [
        ({}, 499, 0.0, True),
        ({"status": "5xx, 404"}, 503, 0.0, True),
        ({"status": "5xx,404"}, 404, 0.0, True),
        ({"status": "5xx,404"}, 200, 0.0, False),
        ({"slower": 0.5}, 200, 0.6, True),
        ({"slower": 0.5}, 200, 0.4, False),
    ],
)
def test_conditions_on_outcomes(options, status, duration, expected):
    lines = []
    made = rule(lambda line: lines.append(line) or True, **options)
    made.take(Captured(request()), ended(status, duration))
    assert (made.recorded, len(lines)) == (expected, expected)


def test_a_share_of_the_requests_is_taken():
    numbers = iter([0.05, 0.5, 0.09, 0.1])
    selection = Selection(sample=0.1, random=lambda: next(numbers))
    assert [selection.matches_request(request()) for _ in range(4)] == [True, False, True, False]


def test_the_route_is_asked_before_the_rule():
    assert rule(route="users").routes == ("users",)
    assert rule().routes == ()


def test_a_limit_ends_the_rule():
    made = rule(limit=2)
    for _ in range(3):
        made.take(Captured(request()), ended())
    assert made.recorded == 2
    assert not made.wants(request())


def test_without_room_a_record_counts_as_dropped():
    made = rule(lambda _: False)
    made.take(Captured(request()), ended())
    assert (made.recorded, made.dropped) == (0, 1)
    assert made.wants(request())


def test_a_record_has_only_what_is_redacted():
    lines = []
    asked = request("GET", "/a?b=secret", {"X-Key": "secret"})
    asked.user = "alice"
    rule(lines.append).take(Captured(asked), asked.conclude(200, 0.1, 2))
    content = json.loads(lines[0])
    assert b"secret" not in lines[0]
    assert content["user"].startswith("~")
    assert "response" not in content


def test_bodies_have_a_bound():
    assert rule(body_limit=1 << 30).body_limit == MOST_BODY


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"path": "users"}, "path: expected a path"),
        ({"path": "/users?a=b"}, "path: expected a path"),
        ({"client": "a"}, "client: 'a' is no address and no network"),
        ({"status": "20"}, "status: expected statuses"),
        ({"sample": 0.0}, "sample: expected a share"),
    ],
)
def test_wrong_options(options, expected):
    with pytest.raises(ValueError, match=expected):
        rule(**options)
