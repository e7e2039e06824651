"""What each step changes, as the runner of the steps notes it."""

import marshal

import pytest

from gproxy.dev.step_changes import GATEWAY, StepChanges, changes_when_sent
from gproxy.http.body import Body
from gproxy.http.response import Response
from gproxy.runtime.live_rules import run_step
from gproxy.testing import answer, request


def run(sent, *handlers, action=None, between=None):
    """Run the handlers, by name, around an action as a watched chain does; return the steps by name."""
    changes = StepChanges(sent)
    step = action or answer(200, b"{}", {"Content-Type": "application/json"})

    def act(request, _):
        return step(request)

    def at(position):
        def following(request):
            if between is not None and position == len(handlers):
                between(request)
            if position == len(handlers):
                return run_step([changes], "", act, request, step)
            name, handler = handlers[position]
            return run_step([changes], name, handler, request, at(position + 1))

        return following

    try:
        at(0)(sent)
    except ValueError:
        pass
    marshal.dumps([one.describe() for one in changes.steps])
    return {one.name: one.describe() for one in changes.steps}


def test_a_step_has_what_it_changes_and_nothing_of_the_steps_within():
    def outer(request, next):
        request.path = "/b"
        request.headers["X-New"] = "1"
        request.headers["X-Old"] = None
        response = next(request)
        response.headers["X-Served"] = "me"
        response.status = 201
        return response

    def inner(request, next):
        request.headers["X-New"] = "2"
        request.exchange.user = "alice"
        return next(request)

    steps = run(request("GET", "/a?q=1", {"X-Old": "o"}), ("outer", outer), ("inner", inner))
    assert steps["outer"]["down"] == [
        ("path", "/a", "/b"), ("header X-Old", "o", None), ("header X-New", None, "1"),
    ]  # fmt: skip
    assert steps["outer"]["up"] == [("status", "200", "201"), ("header X-Served", None, "me")]
    assert steps["inner"]["down"] == [("header X-New", "1", "2"), ("user", None, "alice")]
    assert steps["inner"]["up"] == []
    assert [(one["depth"], one["calls"], one["status"]) for one in steps.values()] == [
        (0, 1, 201),
        (1, 1, 200),
        (2, 0, 200),
    ]


def test_a_body_is_shown_if_it_is_a_short_text():
    def stamp(request, next):
        request.body = Body(b'{"a": 2}')
        response = next(request)
        response.body = b"\xff\xfe"
        return response

    steps = run(request("POST", "/", {}, b'{"a": 1}'), ("stamp", stamp))
    assert steps["stamp"]["down"] == [("body", '{"a": 1}', '{"a": 2}')]
    assert steps["stamp"]["up"] == [("body", "(2 bytes)", "(2 bytes)")]


def test_a_stream_stays_a_stream_and_the_same_body_is_no_change():
    def pieces(request, next):
        response = next(request)
        response.body = (piece.upper() for piece in response.pieces)
        return response

    def buffers(request, next):
        request.body.buffer(100)
        return next(request)

    steps = run(request("POST", "/", {}, b"x"), ("pieces", pieces), ("buffers", buffers))
    assert steps["pieces"]["up"] == [("body", "(2 bytes)", "(a stream)")]
    assert steps["buffers"]["down"] == []


def test_a_handler_that_answers_or_raises_has_what_it_changed_until_then():
    def fails(request, next):
        request.headers["X-Tenant"] = "a"
        raise ValueError("no <such> tenant")

    steps = run(request(), ("answers", lambda request, next: Response(204)))
    assert steps["answers"] == {
        "name": "answers", "depth": 0, "calls": 0, "status": 204, "error": "", "down": [], "up": [],
    }  # fmt: skip
    failed = run(request(), ("fails", fails))["fails"]
    assert (failed["error"], failed["calls"]) == ("ValueError: no <such> tenant", 0)
    assert failed["down"] == [("header X-Tenant", None, "a")]


def test_what_the_gateway_does_between_two_steps_is_a_step_of_its_own():
    def between(request):
        request.headers["Authorization"] = None

    steps = run(request("GET", "/", {"Authorization": "secret"}), ("one", lambda r, next: next(r)), between=between)
    assert list(steps) == ["one", GATEWAY, ""]
    assert steps[GATEWAY]["down"] == [("header Authorization", "secret", None)]


def test_a_handler_that_calls_next_again_and_again_has_a_bounded_record():
    def again(request, next):
        for _ in range(500):
            response = next(request)
        return response

    steps = StepChanges(sent := request())
    run_step([steps], "again", again, sent, lambda request: steps.run("", lambda *_: Response(200), request, None))
    assert len(steps.steps) == 100
    assert steps.steps[0].calls == 500


@pytest.mark.parametrize("spelling", ["X-Tenant", "x-tenant"])
def test_the_action_has_what_the_backend_got_besides(spelling):
    changes = StepChanges(sent := request("GET", "/", {"Host": "a", "X-Tenant": "t", "Authorization": "s"}))
    changes.run("", lambda *_: Response(200), sent, None)
    pairs = [("Host", "a"), (spelling, "t"), ("Via", "1.1 x"), ("Connection", "close")]
    assert changes_when_sent(changes.steps[0], pairs) == [
        ("header Authorization", "s", None), ("header Via", None, "1.1 x"),
    ]  # fmt: skip


def test_a_body_that_is_buffered_within_the_step_is_known_too():
    def stamp(request, next):
        value = request.json()
        request.body = Body(f'{{"a": {value["a"] + 1}}}'.encode())
        return next(request)

    arriving = request("POST", "/", {})
    arriving.body = Body(b'{"a"', Arriving(b": 1}"), 8)
    assert run(arriving, ("stamp", stamp))["stamp"]["down"] == [("body", '{"a": 1}', '{"a": 2}')]
    whole = request("POST", "/", {})
    whole.body = Body(b'{"a": 1}', Arriving(b""), 8)
    assert run(whole, ("stamp", stamp))["stamp"]["down"] == [("body", '{"a": 1}', '{"a": 2}')]


class Arriving:
    """A reader of the rest of a body."""

    trailers = ()

    def __init__(self, rest):
        self.rest = rest

    @property
    def done(self):
        return not self.rest

    def next_piece(self):
        rest, self.rest = self.rest, b""
        return rest


class Mute(Exception):
    def __str__(self):
        raise KeyError("no text")


def test_an_exception_without_a_text_stays_the_exception():
    def fails(request, next):
        raise Mute

    noted = StepChanges(request())
    with pytest.raises(Mute):
        run_step([noted], "fails", fails, request(), answer(200))
    assert noted.steps[0].error == "Mute: (it has no text: its __str__ fails)"
