"""The requests in flight as the API shows them, over connections that stand still."""

import math
from types import SimpleNamespace

import gevent
import pytest

from gproxy.http.deadline import Deadline
from gproxy.http.phase import DEBUG, PHASES, WAIT
from gproxy.http.time_limit import ExchangeLimits, TimeLimit
from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.in_flight import cut, request, requests
from gproxy.monitor.answers.schemas import CUT, REQUEST, REQUESTS
from gproxy.testing import Clock
from gproxy.testing import request as asked


def tenant(request, next):
    gevent.sleep(60)


class Connection:
    """A client connection with these requests; an HTTP/1 connection has one at most."""

    def __init__(self, *active):
        self.active_requests = list(active)


class View:
    """A worker with one listener. `add` starts a request that waits in a handler, `beside` the last one or alone."""

    def __init__(self):
        self.number, self.generation = 2, 5
        self.clock = Clock(1000.0)
        self.runtime = SimpleNamespace(clock=self.clock)
        self.handler_code = HandlerCode({"tenant": tenant})
        self.open = [Connection()]  # an idle one
        self.connections = [self.open]
        self.greenlets = []

    def add(self, name, age=1.0, target="/users?key=secret", limits=None, beside=False, **attributes):
        made = asked("GET", target)
        made.id, made.exchange.started = name, self.clock() - age
        made.deadline = Deadline(clock=self.clock)
        if limits:
            made.deadline.begin(ExchangeLimits.of_gateway(*limits))
        for attribute, value in attributes.items():
            setattr(made, attribute, value)
        self.greenlets.append(gevent.spawn(tenant, made, None))
        alarm = SimpleNamespace(greenlet=self.greenlets[-1], limit=TimeLimit.DEADLINE, expires=math.inf)
        active = SimpleNamespace(request=made, alarm=alarm, sent=7, was_cut=[])
        active.cut = active.was_cut.append
        if beside:
            self.open[-1].active_requests.append(active)
        else:
            self.open.append(Connection(active))
        gevent.sleep(0)
        return active

    def ids(self, **parameters):
        return [entry["id"] for part in requests(self, **parameters) for entry in part["requests"]]


@pytest.fixture
def view():
    made = View()
    yield made
    gevent.killall(made.greenlets)


def test_each_request_of_a_connection_with_many_is_seen_and_cut_by_itself(view):
    one, other = view.add("one", 3), view.add("other", 2, beside=True)
    view.add("elsewhere", 1)
    assert view.ids() == ["one", "other", "elsewhere"]
    assert next(cut(view, "other"))["before"]["id"] == "other"
    assert (one.was_cut, other.was_cut) == ([], [TimeLimit.CUT])


def test_what_a_client_makes_long_is_shortened(view):
    view.add("one", target="/" + 9000 * "x", user=9000 * "u")
    [part] = requests(view)
    [entry] = part["requests"]
    assert (len(entry["path"]), len(entry["user"])) == (2048, 2048)


def test_an_entry_has_all_fields_and_no_query(view):
    view.add("one", 2.5, limits=(10.0,), phase=WAIT, backend="10.0.0.1:80", tries=1, user="alice", upstream="app")
    view.clock.advance(2)
    [part] = requests(view)
    [entry] = part["requests"]
    assert entry.pop("line").startswith(tenant.__code__.co_filename + ":")
    assert entry == {
        "id": "one", "trace_id": None, "worker": 2, "generation": 5, "route": None, "upstream": "app",
        "client": "192.0.2.1", "user": "alice", "method": "GET", "path": "/users", "age": 4.5, "phase": "wait",
        "handler": "tenant", "backend": "10.0.0.1:80", "tries": 1, "received": 0, "sent": 7, "remaining": 8.0,
        "stack": None,
    }  # fmt: skip


def test_the_oldest_request_is_the_first(view):
    for name, age in (("young", 1), ("old", 9), ("middle", 5)):
        view.add(name, age)
    assert view.ids() == ["old", "middle", "young"]
    assert view.ids(limit="2") == ["old", "middle"]


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"route": "users"}, ["b"]),
        ({"upstream": "app"}, ["a", "b"]),
        ({"backend": "one:80"}, ["a"]),
        ({"client": "10.1.2.3"}, ["a"]),
        ({"client": "10.0.0.0/8"}, ["a"]),
        ({"client": "::/0"}, []),
        ({"older": "2s"}, ["a", "b"]),
        ({"phase": "wait"}, ["a"]),
        ({"older": "2s", "phase": "handler"}, ["b"]),
        ({"upstream": "none"}, []),
        ({"client": "::ffff:10.0.0.0/104"}, ["a"]),
        ({"client": "::ffff:10.1.2.3"}, ["a"]),
        ({"client": "unix:"}, ["b"]),
    ],
)
def test_filters_all_hold(view, parameters, found):
    view.add("a", 9, upstream="app", backend="one:80", client="10.1.2.3", phase=WAIT)
    view.add("b", 5, upstream="app", route=SimpleNamespace(name="users"), client="unix:")
    view.add("c", 1)
    assert view.ids(**parameters) == found


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rout": "x"}, "rout: unknown parameter; expected one of route, upstream, "),
        ({"older": "soon"}, "older: 'soon' is no time; expected one such as 2s"),
        ({"phase": "sleep"}, "phase: 'sleep' is unknown; expected one of handler, queue, "),
        ({"client": "10.0.0.0/99"}, "client: '10.0.0.0/99' is no address and no network; "),
        ({"limit": "0"}, "limit: '0' is no number of requests; "),
        ({"limit": "-1"}, "limit: '-1' is no number of requests; "),
        ({"stack": "deep"}, "stack: 'deep' is unknown; expected one of no, yes, all"),
    ],
)
def test_unknown_parameters_and_wrong_values_are_named(view, parameters, message):
    with pytest.raises(ValueError, match="expected") as raised:
        next(requests(view, **parameters))
    assert str(raised.value).startswith(message)


def test_many_requests_come_in_parts_and_those_that_have_ended_are_missing(view):
    for number in range(150):
        view.add(f"{number}", 200 - number)
    parts = requests(view)
    assert len(next(parts)["requests"]) == 100
    view.open[120].active_requests[0].request = None
    view.open[130].active_requests[0].request = asked()
    assert len(next(parts)["requests"]) == 48


@pytest.mark.parametrize(
    ("limits", "limit", "expires", "phase", "remaining"),
    [
        ((), TimeLimit.DEADLINE, 1, WAIT, None),
        ((10.0,), TimeLimit.DEADLINE, 1, WAIT, 10.0),
        ((10.0, 4.0), TimeLimit.DEADLINE, 1, WAIT, 4.0),
        ((10.0,), TimeLimit.BODY, 1, WAIT, "waiting for the client"),
        ((10.0,), TimeLimit.RATE, 1, WAIT, "waiting for the client"),
        ((10.0,), TimeLimit.WRITE, math.inf, WAIT, 10.0),
        ((), TimeLimit.WRITE, 1, WAIT, None),
        ((10.0,), TimeLimit.DEADLINE, 1, DEBUG, "debugging"),
    ],
)
def test_what_remains_until_the_limit(view, limits, limit, expires, phase, remaining):
    active = view.add("one", limits=limits, phase=phase)
    active.alarm.limit, active.alarm.expires = limit, expires
    [part] = requests(view)
    assert part["requests"][0]["remaining"] == remaining


@pytest.mark.parametrize(("total", "remaining"), [(None, None), (60.0, 60.0)])
def test_after_the_head_only_the_total_remains(view, total, remaining):
    active = view.add("one", limits=(10.0, total))
    active.request.deadline.begin_body(is_event_stream=False)
    [part] = requests(view)
    assert part["requests"][0]["remaining"] == remaining


def test_one_request_has_its_stack(view):
    view.add("other")
    view.add("one").request.deadline.pause(1.5)
    [part] = request(view, "one")
    assert part["request"]["stack"][0].endswith(" tenant")
    assert (part["request"]["paused"], part["request"]["greenlets"]) == (1.5, [])
    assert list(request(view, "gone")) == [{}]


def test_a_list_with_stacks(view):
    view.add("one")
    [part] = requests(view, stack="yes")
    assert part["requests"][0]["stack"][0].endswith(" tenant")


def test_a_cut_reaches_its_request_only_and_says_what_it_was(view):
    other, one = view.add("other"), view.add("one")
    [part] = cut(view, "one")
    assert (part["cut"], part["before"]["id"], part["before"]["handler"]) == (True, "one", "tenant")
    assert (one.was_cut, other.was_cut) == ([TimeLimit.CUT], [])
    assert list(cut(view, "gone")) == [{}]


def test_each_phase_has_a_word():
    assert len(set(PHASES)) == DEBUG + 1


def test_the_schema_of_the_api_has_the_fields_of_an_entry(view):
    view.add("one")
    [part] = requests(view)
    fields = list(part["requests"][0])
    assert REQUESTS["properties"]["requests"]["items"]["required"] == fields
    assert CUT["properties"]["before"]["required"] == fields
    [part] = request(view, "one")
    assert sorted(REQUEST["required"]) == sorted(part["request"])
