"""What is sent again of a recording, and how an answer is judged."""

import re

import pytest

from gproxy.recording.diff import Diff, Difference, Side
from gproxy.recording.diff_report import NO_RESPONSE
from gproxy.recording.record import RecordedBody, RecordedExchange, RecordedRequest, RecordedResponse
from gproxy.recording.replaying import Answer, Choice, Plan, ReplayRequest, judged

PSEUDONYM = re.compile(r"~[0-9a-f]{4}")


def exchange(method="GET", target="/", headers=(), body=None, response=None, **options):
    request = RecordedRequest(method, target, list(headers), body)
    response = RecordedResponse(200, [], RecordedBody.of(b"ok")) if response is None else response
    plain = {
        "id": "one",
        "time": 5.0,
        "duration": 1.0,
        "client": "192.0.2.1",
        "scheme": "http",
        "host": "",
        "route": "r",
    }
    return RecordedExchange(**{**plain, **options}, request=request, response=response or None)


def sent(*exchanges, choice=None, **options):
    return Plan(choice or Choice(), PSEUDONYM, **options).requests(exchanges)


def skipped(one, **options):
    plan = Plan(Choice(**options))
    assert bool(plan.requests([one])) is not bool(plan.skipped)
    return "".join(plan.skipped)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_are_sent(method):
    assert not skipped(exchange(method))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "get"])
def test_other_methods_are_sent_only_on_demand(method):
    assert "not safe" in skipped(exchange(method))
    assert not skipped(exchange(method), unsafe=True)


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"])
def test_a_field_that_overrides_the_method_counts_as_the_method(name):
    assert "not safe" in skipped(exchange(headers=[(name, "delete")]))
    assert not skipped(exchange(headers=[(name, "delete")]), unsafe=True)
    assert not skipped(exchange(headers=[(name, "head")]))


def test_methods_can_be_chosen():
    assert not skipped(exchange("GET"), only=frozenset({"GET"}))
    assert "--only" in skipped(exchange("HEAD"), only=frozenset({"GET"}))
    assert "not safe" in skipped(exchange("POST"), only=frozenset({"POST"}))


@pytest.mark.parametrize(
    "body", [None, RecordedBody(b"ab", 4, truncated=True), RecordedBody(b"", 4, omitted="no reason")]
)
def test_a_request_whose_body_is_not_known_is_not_sent(body):
    one = exchange("POST", headers=[("Content-Length", "4")], body=body)
    assert skipped(one, unsafe=True) == "whose body is not in the recording"


@pytest.mark.parametrize(
    ("method", "target", "why"),
    [
        ("DELETE", "/a\x1b[2K", "a target that is no path"),
        ("DELETE", "/a\r\nX: 1", "a target that is no path"),
        ("DELETE", "http://other.test/", "a target that is no path"),
        ("GET /\r", "/a", "an odd method"),
    ],
)
def test_a_request_that_is_not_what_it_looks_like_is_not_sent(method, target, why):
    one = exchange(method)
    one.request.target = target
    assert why in skipped(one, unsafe=True)


def test_what_has_no_response_or_became_a_tunnel_is_not_sent():
    assert "without a recorded response" in skipped(exchange(response=False))
    assert "tunnels" in skipped(exchange(response=RecordedResponse(101, [])))


def test_requests_are_sent_in_the_order_of_their_times():
    assert [one.number for one in sent(exchange(time=3.0), exchange(time=1.0), exchange(time=2.0))] == [2, 3, 1]


def test_fields_of_the_connection_are_made_anew_and_others_may_be_changed():
    headers = [
        ("Host", "a"), ("Connection", "keep-alive, X-Own"), ("X-Own", "1"), ("Content-Length", "1"), ("Expect", "x"),
        ("Accept", "*/*"), ("X-A", "1"), ("X-A", "2"), ("X-B", "3"),
    ]  # fmt: skip
    [one] = sent(
        exchange(headers=headers, body=RecordedBody.of(b"x")),
        choice=Choice(changes=(("x-a", "new"), ("X-B", ""), ("X-C", "4"))),
    )
    assert one.headers == (("Host", "a"), ("Accept", "*/*"), ("x-a", "new"), ("X-C", "4"))


def test_a_token_is_signed_in_place_of_a_pseudonym():
    headers = [("Authorization", "~0123")]
    plan = Plan(Choice(), PSEUDONYM, lambda one: f"of-{one.user}" if one.user else "")
    requests = plan.requests([exchange(headers=headers, user="alice"), exchange(headers=headers)])
    assert [dict(one.headers)["Authorization"] for one in requests] == ["Bearer of-alice", "~0123"]
    assert plan.anonymous == {2}


def test_what_cannot_be_restored_is_said():
    plan = Plan(Choice(), PSEUDONYM)
    plan.requests([exchange(target="/?a=~0123", headers=[("Cookie", "a=~0123")]), exchange(headers=[("X-A", "~0123")])])
    assert [note.partition(":")[0] for note in plan.notes()] == [
        "1 request sent with pseudonyms in Cookie",
        "1 request sent with pseudonyms in X-A",
        "1 request sent with pseudonyms in the URL",
    ]
    assert plan.anonymous == {1}


def test_requests_and_answers_pass_as_lines():
    [request] = sent(
        exchange("POST", headers=[("A", "\xe4")], body=RecordedBody.of(b"\0\xff")), choice=Choice(unsafe=True)
    )
    assert ReplayRequest.load(request.dump()) == request
    answer = Answer(Side(200, [("A", "\xe4")], b"\0\xff", "id"), None, "", (Difference("a", "b", "c"),))
    assert Answer.load(answer.dump()) == answer
    assert Answer.load(Answer(None, None, "reset").dump()) == Answer(None, None, "reset")


def judge(one, answer, *, is_anonymous=False):
    return judged(one, answer, Diff(), is_anonymous=is_anonymous)


def test_an_answer_is_compared_with_the_recorded_response():
    assert judge(exchange(), Answer(Side(200, [], b"ok"))).differences == []
    further = Difference("asked", "", "a")
    found = judge(exchange(), Answer(Side(404, [], b"no"), further=(further,)))
    assert found.differences == [Difference("status", "200", "404"), further]


def test_an_answer_that_did_not_come_is_a_difference():
    assert judge(exchange(), Answer(None, 1.0, "refused")).differences == [Difference(NO_RESPONSE, "200", "refused")]


@pytest.mark.parametrize("status", [401, 403])
def test_a_request_that_lacks_its_credentials_and_is_rejected_is_not_compared(status):
    answer = Answer(Side(status, [], b""))
    assert judge(exchange(), answer, is_anonymous=True).denied
    assert judge(exchange(), answer).differences
    recorded = exchange(response=RecordedResponse(status, [("A", "1")]))
    assert judge(recorded, answer, is_anonymous=True).differences == [Difference("header A", "1", "absent")]


def test_a_body_that_was_not_recorded_is_not_compared():
    answer = Answer(Side(200, [], b"ok"))
    for body in (None, RecordedBody(b"o", 2, truncated=True)):
        found = judge(exchange(response=RecordedResponse(200, [("Content-Length", "2")], body)), answer)
        assert (found.differences, found.body_skipped) == ([], "not recorded")
    empty = exchange(response=RecordedResponse(200, [("Content-Length", "0")]))
    assert [one.kind for one in judge(empty, answer).differences] == ["body"]
