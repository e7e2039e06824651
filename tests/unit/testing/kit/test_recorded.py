"""A gateway of the test kit whose backends answer as recorded: matching of attempts, failures, virtual time."""

import re
from functools import partial

import pytest

from gproxy.recording.diff import Diff, Difference
from gproxy.recording.record import RecordedAttempt, RecordedBody, RecordedExchange, RecordedRequest, RecordedResponse
from gproxy.recording.replaying import Choice, Plan
from gproxy.testing.kit.clock import VirtualClock
from gproxy.testing.kit.gateway import KitGateway
from gproxy.testing.kit.recorded import NOT_ASKED, NOT_RECORDED, RecordedBackend, Replay

START = 1_700_000_000.0
SETTINGS = """
[gateway]
timeout = 3s
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://10.0.0.1:81, http://10.0.0.2:81
balance = round_robin
"""


def response(status=200, body=b"ok", *headers):
    return RecordedResponse(status, [("Content-Length", str(len(body))), *headers], RecordedBody.of(body))


def attempt(answer=None, error="", upstream="users", duration=0.1):
    return RecordedAttempt(upstream, "10.0.0.1:81", 0.0, duration, None, answer, error)


def exchange(*attempts, at=0.0, target="/users", method="GET"):
    request = RecordedRequest(method, target, [("Host", "a.test")])
    plain = {"duration": 0.1, "client": "192.0.2.7", "scheme": "http", "host": "a.test", "route": "users"}
    return RecordedExchange(
        id=f"id{at}", time=START + at, **plain, request=request, response=response(), attempts=list(attempts)
    )


@pytest.fixture
def used():
    """The gateways that `run` has used."""
    return []


@pytest.fixture
def run(tmp_path, used):
    def replay(*exchanges, ini=SETTINGS, modules=""):
        clock = VirtualClock(wall=START)
        make = partial(RecordedBackend, clock=clock)
        names = {
            "def change": "replayed_changes.py",
            "class Looking": "replayed_looking.py",
            "class Keyed": "replayed_keyed.py",
        }
        name = next((name for part, name in names.items() if part in modules), "replayed_handlers.py")
        (tmp_path / name).write_text(modules)
        with KitGateway(ini, tmp_path / "g.ini", state_dir=tmp_path / "var", clock=clock, make_backend=make) as gateway:
            used.append(gateway)
            diff = Diff(pseudonym=re.compile("~[0-9a-f]{16}"))
            return Replay(gateway, exchanges, diff)(Plan(Choice(unsafe=True)).requests(exchanges))

    return replay


def kinds(answer):
    return [one.kind for one in answer.further]


def test_the_recorded_response_comes_again(run, used):
    [answer] = run(exchange(attempt(response(201, b"made", ("X-A", "1")))))
    assert (answer.side.status, answer.side.body, answer.side.id) == (201, b"made", "id0.0")
    assert ("X-A", "1") in answer.side.headers
    assert answer.further == ()
    assert (used[0].line["client"], used[0].line["id"]) == ("192.0.2.7", "id0.0")


def test_retries_get_the_recorded_attempts_in_their_order(run):
    failed = [attempt(error="connect_refused"), attempt(error="backend_reset")]
    [answer] = run(exchange(*failed, attempt(response(body=b"third"))), ini=SETTINGS + "retries = 2\n")
    assert (answer.side.body, kinds(answer)) == (b"third", [])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("connect_refused", 502),
        ("connect_timeout", 504),
        ("dns_error", 502),
        ("tls_protocol_error", 502),
        ("tls_certificate_error", 502),
        ("backend_reset", 502),
        ("backend_protocol", 502),
        ("backend_timeout", 504),
    ],
)
def test_a_failed_attempt_fails_in_the_same_way(run, error, status, used):
    [answer] = run(exchange(attempt(error=error)), ini=SETTINGS + "retries = 0\n")
    assert (answer.side.status, used[0].line["reason"], kinds(answer)) == (status, error, [])


def test_an_attempt_that_was_not_recorded_is_a_difference(run):
    [answer] = run(exchange())
    assert (answer.side.status, kinds(answer)) == (404, [NOT_RECORDED])
    assert answer.further[0].after == "users: 1 attempt"


def test_a_recorded_attempt_that_was_not_made_is_a_difference(run):
    [answer] = run(exchange(attempt(error="backend_reset"), attempt(response())), ini=SETTINGS + "retries = 0\n")
    assert (answer.side.status, kinds(answer)) == (502, [NOT_ASKED])


def test_exchanges_overlap_as_recorded_in_virtual_time(run, used):
    slow = exchange(attempt(response(body=b"slow"), duration=2.0), at=0.0)
    quick = [exchange(attempt(response(body=f"{n}".encode())), at=n / 10) for n in range(1, 10)]
    answers = run(slow, *quick)
    assert [one.side.body for one in answers] == [b"slow", *(f"{n}".encode() for n in range(1, 10))]
    assert all(one.further == () for one in answers)
    assert used[0].clock.wall() == pytest.approx(START + 2.0)


def test_a_shorter_timeout_is_a_difference(run):
    [answer] = run(exchange(attempt(response(), duration=2.0)), ini=SETTINGS.replace("3s", "1s"))
    assert answer.side.status == 504


def test_limits_count_in_the_recorded_time(run):
    ini = (
        SETTINGS.replace("[gateway]", "[gateway]\nhandlers = limit")
        + "[handler:limit]\nuse = rate_limit\nlimit = 2/m\n"
    )
    answers = run(*(exchange(attempt(response()), at=n) for n in (0, 1, 2, 120)), ini=ini)
    assert [one.side.status for one in answers] == [200, 200, 429, 200]


def test_calls_of_handlers_side_by_side_get_the_answers_of_their_upstreams(run):
    ini = SETTINGS + "[upstream:more]\nbackends = http://10.0.0.3:81\n[handler:both]\nuse = replayed_handlers:Both\n"
    code = """
from gproxy import Response, gather

class Both:
    def open(self, runtime):
        self.runtime = runtime

    def __call__(self, request, next):
        users, more = (self.runtime.upstream(name) for name in ("users", "more"))
        one, other = gather(lambda: users.request("GET", "/1").read(), lambda: more.request("GET", "/2").read())
        return Response(200, one + other)
"""
    attempts = [attempt(response(body=b"other"), upstream="more", duration=0.3), attempt(response(body=b"one"))]
    answers = run(
        exchange(*attempts),
        exchange(*attempts, at=0.1),
        ini=ini.replace("upstream = users", "handlers = both\nrespond = 204", 1),
        modules=code,
    )
    assert [(one.side.body, kinds(one)) for one in answers] == [(b"oneother", [])] * 2


LOOKING = """
from gproxy import Response
from gproxy.state.cached import cached

class Looking:
    def open(self, runtime):
        self.users = runtime.upstream("users")

    def __call__(self, request, next):
        body = self.look_up(request.query.partition("&")[0])
        for _ in range(request.query.count("more")):
            body += self.users.request("GET", "/more").read()
        return Response(200, body)

    @cached(ttl="60s")
    def look_up(self, name):
        return self.users.request("POST", "/look", body=name.encode()).read()
"""
LOOKING_INI = SETTINGS.replace("upstream = users", "handlers = looking\nrespond = 404", 1) + (
    "[handler:looking]\nuse = replayed_looking:Looking\n"
)


def looked_up(name, answer):
    found = attempt(response(body=answer))
    found.request, found.shared = RecordedRequest("POST", "/look", [], RecordedBody.of(name)), True
    return found


def more(answer):
    found = attempt(response(body=answer))
    found.request = RecordedRequest("GET", "/more", [])
    return found


@pytest.fixture
def look(run):
    def replay(*exchanges):
        answers = run(*exchanges, ini=LOOKING_INI, modules=LOOKING)
        return [(one.side.body, [kind for kind in kinds(one) if ": header " not in kind]) for one in answers]

    return replay


def test_a_look_up_gets_the_nearest_answer_before_else_after(look):
    first = exchange(looked_up(b"a", b"early"), target="/users?a")
    without = exchange(at=70, target="/users?a")
    later = exchange(looked_up(b"b", b"no"), looked_up(b"a", b"late"), at=140, target="/users?a")
    assert look(first, without) == [(b"early", []), (b"early", [])]
    assert look(without, later)[0] == (b"late", [])
    assert look(first, without, later)[1] == (b"early", [])


def test_a_pseudonym_in_a_look_up_of_another_exchange_equals_any_value(run):
    found = looked_up(b"a", b"found")
    found.request.target = "/look?key=~0123456789abcdef&of=a"
    modules = LOOKING.replace('"/look"', '"/look?key=real&of=" + name').replace("Looking", "Keyed")
    exchanges = (
        exchange(target="/users?a"),
        exchange(found, at=1, target="/users?a"),
        exchange(at=2, target="/users?b"),
    )
    answers = run(
        *exchanges, ini=LOOKING_INI.replace("Looking", "Keyed").replace("_looking", "_keyed"), modules=modules
    )
    assert [(one.side.body, kinds(one)) for one in answers][:2] == [(b"found", []), (b"found", [])]
    assert kinds(answers[2]) == [NOT_RECORDED]


def test_an_answer_to_another_body_is_none(look):
    [one, other] = look(exchange(looked_up(b"a", b"a"), target="/users?a"), exchange(at=1, target="/users?b"))
    assert (one, other[1]) == ((b"a", []), [NOT_RECORDED])


def test_a_recorded_look_up_whose_result_is_kept_is_no_difference(look):
    again = exchange(looked_up(b"a", b"2"), at=1, target="/users?a")
    assert look(exchange(looked_up(b"a", b"1"), target="/users?a"), again) == [(b"1", []), (b"1", [])]
    other = exchange(looked_up(b"b", b"2"), at=1, target="/users?a")
    assert look(exchange(looked_up(b"a", b"1"), target="/users?a"), other)[1] == (b"1", [NOT_ASKED])


def test_a_look_up_that_is_spared_does_not_shift_other_answers(look):
    first = exchange(looked_up(b"a", b"1"), target="/users?a")
    second = exchange(looked_up(b"a", b"2"), more(b"m"), at=1, target="/users?a&more")
    assert look(first, second) == [(b"1", []), (b"1m", [])]


def test_what_an_exchange_asks_more_often_than_recorded_is_a_difference(look):
    once = exchange(looked_up(b"a", b"1"), more(b"m"), target="/users?a&more")
    twice = exchange(more(b"m"), at=1, target="/users?a&more&more")
    assert [found for _, found in look(once, twice)] == [[], [NOT_RECORDED]]


def test_health_probes_take_no_recorded_answer(run):
    ini = SETTINGS + "health_path = /up\nhealth_interval = 1s\n"
    answers = run(*(exchange(attempt(response()), at=n * 5) for n in range(3)), ini=ini)
    assert [(one.side.status, one.further) for one in answers] == [(200, ())] * 3


def test_blanks_stand_for_bytes_that_were_not_recorded(run):
    recorded = RecordedResponse(200, [("Content-Length", "100000")], RecordedBody(b"begin", 100_000, truncated=True))
    unknown = RecordedResponse(200, [("Content-Length", "7")])
    download = RecordedResponse(200, [("Content-Length", str(10**9))], RecordedBody(b"", 10**9, truncated=True))
    first, second, third = run(*(exchange(attempt(one), at=at) for at, one in enumerate((recorded, unknown, download))))
    assert (len(first.side.body), first.side.body[:8]) == (100_000, b"begin   ")
    assert second.side.body == b" " * 7
    assert len(third.side.body) == 2**20


def test_copies_for_a_mirror_are_no_difference(run):
    ini = SETTINGS.replace("upstream = users", "upstream = users\nmirror = shadow", 1)
    [answer] = run(exchange(attempt(response())), ini=ini + "[upstream:shadow]\nbackends = http://10.0.0.3:81\n")
    assert (answer.side.status, kinds(answer)) == (200, [])


def test_requests_to_backends_are_compared_as_well(run):
    code = """
def change(request, next):
    request.headers["X-Tenant"] = "b"
    request.query = "a=2"
    return next(request)
"""
    ini = SETTINGS.replace("upstream = users", "upstream = users\nhandlers = change", 1)
    sent = RecordedRequest(
        "GET", "/users?a=1", [("Host", "a.test"), ("X-Tenant", "a"), ("X-Real-IP", "192.0.2.7"), ("X-Request-ID", "1")]
    )
    recorded = exchange(attempt(response()), target="/users?a=1")
    recorded.attempts[0].request = sent
    [answer] = run(recorded, ini=ini + "[handler:change]\nuse = replayed_changes:change\n", modules=code)
    assert answer.further == (
        Difference("request to users: line", "GET /users?a=1", "GET /users?a=2"),
        Difference("request to users: header X-Tenant", "a", "b"),
    )


def test_the_quicker_attempt_of_a_hedge_answers_again(run):
    for loser in (attempt(error="cancelled"), attempt()):
        [answer] = run(exchange(loser, attempt(response(body=b"second"))), ini=SETTINGS + "hedge = 50ms\n")
        assert (answer.side.body, kinds(answer)) == (b"second", [])


def test_a_hedge_that_was_not_recorded_leaves_the_response_to_the_recorded_attempt(run):
    [answer] = run(exchange(attempt(response(body=b"first"))), ini=SETTINGS + "hedge = 50ms\n")
    assert (answer.side.body, kinds(answer)) == (b"first", [NOT_RECORDED])


@pytest.mark.parametrize(("error", "count"), [("stale", 1), ("backend_reset", 2)])
def test_a_stale_connection_is_not_retried_where_a_reset_is(run, error, count, used):
    ini = SETTINGS + "retries = 1\nretry_on = reset\n"
    run(exchange(attempt(error=error), attempt(response())), ini=ini)
    assert used[0].line["tries"] == count
