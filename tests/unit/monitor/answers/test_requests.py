"""The requests of several workers in one answer."""

from types import SimpleNamespace

import pytest

from gproxy.http.errors import HTTPError
from gproxy.monitor.access.access_check import Caller
from gproxy.monitor.answers.requests import cut, request, requests
from gproxy.monitor.gathered.changes import Changes
from gproxy.monitor.gathered.recent import RecentRequests
from gproxy.monitor.processes.worker_lines import WorkerAnswer, WorkerRef


class Lines:
    """The lines to two workers: the first answers with these parts, and the second with none or not at all."""

    def __init__(self, *parts, error=""):
        self.answers = [
            WorkerAnswer(WorkerRef(1, 1, 4711), list(parts)), WorkerAnswer(WorkerRef(1, 2, 4712), error=error)
        ]  # fmt: skip
        self.asked = []

    def ask(self, question, arguments):
        self.asked.append((question, dict(arguments)))
        return self.answers


def call(lines, **values):
    caller = Caller("unix socket", may_act=True)
    gateway = SimpleNamespace(lines=lines, recent=RecentRequests(), changes=Changes())
    return SimpleNamespace(gateway=gateway, caller=caller, values=values)


def entries(*ages):
    return {"requests": [{"id": f"{age}", "age": age} for age in ages]}


def ids(answer):
    return [entry["id"] for entry in answer["requests"]]


def test_the_oldest_of_all_workers_is_the_first():
    lines = Lines(entries(9, 5), entries(1))
    lines.answers[1].parts.append(entries(7, 3))
    assert ids(requests(call(lines))) == ["9", "7", "5", "3", "1"]
    assert ids(requests(call(lines, limit=2))) == ["9", "7"]


def test_workers_get_the_parameters_as_text():
    lines = Lines()
    requests(call(lines, limit=5, older=2.5, route="users"))
    assert lines.asked == [("requests", {"limit": "5", "older": "2.5s", "route": "users"})]


@pytest.mark.parametrize(
    ("values", "problem"), [({"client": "1/99"}, "client: '1/99' is no address"), ({"limit": -1}, "limit: '-1' is no ")]
)
def test_a_wrong_parameter_is_not_sent_to_workers(values, problem):
    lines = Lines()
    with pytest.raises(HTTPError) as raised:
        requests(call(lines, **values))
    assert (raised.value.status, raised.value.detail[: len(problem)], lines.asked) == (400, problem, [])


def test_a_worker_that_does_not_answer_is_named_beside_the_requests_of_the_others():
    lines = Lines(entries(1), error="does not answer")
    answer = requests(call(lines))
    assert ids(answer) == ["1"]
    assert answer["missing"] == [{"worker": 2, "generation": 1, "pid": 4712, "error": "does not answer"}]


@pytest.mark.parametrize("operation", [request, cut])
def test_an_unknown_id_is_a_404_that_names_workers_that_do_not_answer(operation):
    with pytest.raises(HTTPError) as raised:
        operation(call(Lines({}, error="does not answer"), id="x"))
    assert raised.value.status == 404
    assert raised.value.detail.startswith("no request in flight has the id x")
    assert raised.value.detail.endswith("; worker 2 does not answer")


def test_a_cut_is_in_the_audit(caplog):
    before = {"id": "x", "method": "GET", "path": "/users", "phase": "wait"}
    lines = Lines({"cut": True, "before": before})
    assert cut(call(lines, id="x"))["before"] == before
    assert lines.asked == [("cut", {"id": "x"})]
    assert caplog.messages == ["request x GET /users by unix socket: wait -> cut"]
