"""Steps that rules of operators run: the first one outermost, and the step once."""

from gproxy.http.response import Response
from gproxy.runtime.live_rules import run_step


class Noting:
    def __init__(self, name, notes):
        self.name = name
        self.notes = notes

    def run(self, name, step, request, following):
        self.notes.append(f"{self.name} before {name}")
        found = step(request, following)
        self.notes.append(f"{self.name} after {name}")
        return found


def test_each_runner_calls_the_next_and_the_last_one_the_step():
    notes = []
    runners = [Noting("outer", notes), Noting("inner", notes)]
    response = Response(204)
    found = run_step(runners, "jwt", lambda request, following: following(request), "request", lambda _: response)
    assert found is response
    assert notes == ["outer before jwt", "inner before jwt", "inner after jwt", "outer after jwt"]
    assert run_step([], "", lambda request, _: request, "request", None) == "request"
