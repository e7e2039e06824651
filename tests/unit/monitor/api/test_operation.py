"""The parameters of an operation: each value is read by its kind, and a wrong one is an error that names it."""

import pytest

from gproxy.http.errors import HTTPError
from gproxy.monitor.api.operation import Operation, Parameter, named

STATE = Parameter("state", "text", "new state", choices=("up", "drain"))
PERIOD = Parameter("for", "seconds", "for how long")
COUNT = Parameter("count", "number", "how many")
STACK = Parameter("stack", "boolean", "with its stack")


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (STATE, "drain", "drain"),
        (PERIOD, "10m", 600.0),
        (PERIOD, "500ms", 0.5),
        (COUNT, "7", 7),
        (STACK, "", True),
        (STACK, "no", False),
    ],
)
def test_a_text_in_the_url_is_read_by_its_kind(parameter, text, value):
    assert parameter.read_text(text) == value


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [(PERIOD, 5, 5.0), (PERIOD, 0.5, 0.5), (PERIOD, "5s", 5.0), (COUNT, 3, 3), (STACK, False, False)],
)
def test_a_json_value_is_read_by_its_kind(parameter, value, expected):
    assert parameter.read(value) == expected


@pytest.mark.parametrize(
    ("parameter", "value", "problem"),
    [
        (STATE, "drian", "state: expected one of up, drain; did you mean 'drain'"),
        (STATE, 1, "state: expected a text"),
        (STATE, None, "state: expected a text"),
        (PERIOD, -1, "for: expected a time from 0 to 1000000000 seconds"),
        (PERIOD, 10**400, "for: expected a time"),
        (PERIOD, "999999d", "for: expected a time"),
        (PERIOD, float("inf"), "for: expected a time"),
        (PERIOD, True, "for: expected a seconds"),
        (PERIOD, [], "for: expected a seconds"),
        (COUNT, "3", "count: expected a number"),
        (COUNT, True, "count: expected a number"),
        (COUNT, 1.5, "count: expected a number"),
        (STACK, "yes", "stack: expected a boolean"),
    ],
)
def test_a_wrong_json_value_is_rejected_with_its_name(parameter, value, problem):
    with pytest.raises(HTTPError) as caught:
        parameter.read(value)
    assert (caught.value.status, problem in str(caught.value)) == (400, True), str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "text"), [(COUNT, "x"), (COUNT, "9" * 5000), (PERIOD, "5x"), (PERIOD, "-5s"), (STACK, "maybe")]
)
def test_a_wrong_text_is_rejected_with_its_name(parameter, text):
    with pytest.raises(HTTPError, match=f"400 {parameter.name}: "):
        parameter.read_text(text)


def test_an_unknown_name_is_rejected_with_the_nearest_one():
    with pytest.raises(HTTPError, match=r"400 unknown field 'stat'.*'state'"):
        named((STATE, PERIOD), "stat", "field")


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/v1/upstreams/u/backends/10.0.0.1:80", {"upstream": "u", "backend": "10.0.0.1:80"}),
        ("/v1/upstreams//backends/b", None),
        ("/v1/upstreams/u/backends/b/c", None),
        ("/v1/upstreams/u/backend/b", None),
    ],
)
def test_parts_of_a_path_are_values(path, values):
    operation = Operation("DELETE", "/v1/upstreams/{upstream}/backends/{backend}", "reset", "", answer=lambda _: None)
    assert operation.match(path) == values
