"""Each operation of a running gateway: its answer has the form that /openapi.json describes, and so have its errors."""

import json
import re

import jsonschema
import pytest
from admin_listener import JSON, TOKEN, Admin

from gproxy.monitor.api.openapi import PROBLEM
from gproxy.monitor.api.operations import OPERATIONS
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import eventually

BY_NAME = {operation.name: operation for operation in OPERATIONS}
#: Values for parts of paths, parameters and fields, by operation, for each that has some which are not optional.
VALUES = {
    "request": {"id": "{held}"},
    "cut": {"id": "{held}"},
    "change_backend": {"upstream": "users", "backend": "{backend}", "weight": 3, "for": "10m"},
    "reset_backend": {"upstream": "users", "backend": "{backend}"},
    "log_in": {"token": TOKEN},
    "run_job": {"job": "own"},
    "scale": {"count": 2},
    "set_log_level": {"level": "debug", "for": "10m"},
    "record": {"for": "1s"},
}
#: Called last, in this order: they end what others look at.
LAST = ("cut", "scale", "reload", "rollback")
#: The streams do not end, or the operation needs one: test_process_figures.py, test_process_debug.py and
#: test_process_record.py call them.
ENDLESS = ("events", "debug", "debug_input", "end_recording")
NAMES = [*sorted(BY_NAME.keys() - {*LAST}), *LAST]
USERS = """
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://127.0.0.1:{held}, http://127.0.0.1:{other}
balance = first
[job:own]
use = builtins:id
every = 1h
"""


class API(Admin):
    """A gateway whose first backend holds a request."""

    def __init__(self, folder, held, other):
        self.held_at = held.port
        super().__init__(folder, USERS.format(held=held.port, other=other.port), log="")

    def filled(self, value):
        if value == "{backend}":
            return f"127.0.0.1:{self.held_at}"
        return self.id_of_held() if value == "{held}" else value

    def id_of_held(self):
        """The id of the request that the backend holds."""
        found = []

        def is_there():
            found[:] = json.loads(self.ask_unix("GET /v1/requests?phase=wait").body)["requests"]
            return found

        eventually(is_there, "a request in flight")
        return found[0]["id"]


def holding(peer, backend):
    """Answer nothing until the gateway leaves."""
    peer.read_request()
    peer.is_closed()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    with Backend(holding) as held, Backend(answering) as other, API(folder, held, other) as api:
        with api.gateway.connect() as client:
            client.send("GET /users/1?key=1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
            api.id_of_held()
            yield api


@pytest.fixture(scope="module")
def paths(api):
    return json.loads(api.ask_unix("GET /openapi.json").body)["paths"]


def strict(schema):
    """The schema without room for fields that it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(value) for name, value in schema.items()}
    return (
        {"additionalProperties": False, **found}
        if schema.get("type") == "object" and schema.get("properties")
        else found
    )


def check(answer, described, status):
    """Check that the status and the answer are as described."""
    assert answer.status == int(status), answer.body
    content = described["responses"][status].get("content", {})
    kind = (answer["content-type"] or "").partition(";")[0]
    assert kind in content or (not content and not answer.body)
    if kind == JSON:
        problems = jsonschema.Draft202012Validator(strict(content[kind]["schema"])).iter_errors(json.loads(answer.body))
        assert [f"{one.json_path}: {one.message[:200]}" for one in problems] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ENDLESS])
def test_an_answer_has_the_form_that_is_described(api, paths, name):
    operation = BY_NAME[name]
    described = paths[operation.path][operation.method.lower()]
    answer = api.call(operation, VALUES.get(name, {}))
    check(answer, described, str(operation.status))


def problem_of(answer, status):
    assert (answer.status, answer["content-type"]) == (status, "application/problem+json")
    jsonschema.validate(json.loads(answer.body), strict(PROBLEM))
    return json.loads(answer.body)["detail"]


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_field_or_parameter_is_an_error_that_names_it(api, name):
    operation = BY_NAME[name]
    values = dict.fromkeys(re.findall(r"\{(\w+)\}", operation.path), "x")
    assert "unknown" in problem_of(api.call(operation, {**values, "unknown": "1"}), 400)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_a_wrong_type_is_an_error_that_names_it(api, name):
    operation = BY_NAME[name]
    values = dict.fromkeys(re.findall(r"\{(\w+)\}", operation.path), "x")
    for parameter in (*operation.query, *operation.body):
        wrong = "wrong" if not operation.acts else {"in": "an object"}
        if operation.is_form or (parameter.kind == "text" and not operation.acts and not parameter.choices):
            continue  # any text is right
        assert problem_of(api.call(operation, {**values, parameter.name: wrong}), 400).startswith(f"{parameter.name}: ")


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
def test_a_wrong_method_is_an_error_that_names_the_right_ones(api, path):
    answer = api.ask_unix(f"PROPFIND {re.sub('{.*?}', 'x', path)}", f"Content-Type: {JSON}")
    problem_of(answer, 405)
    assert set(answer["allow"].split(", ")) - {"HEAD"} == {one.method for one in OPERATIONS if one.path == path}


@pytest.mark.parametrize("body", ["[1]", "{", '{"weight": NaN}', "[" * 60000, '"x"', '{"weight": 1e400}', "\xff"])
def test_a_body_that_is_no_json_object_is_an_error(api, body):
    answer = api.ask_unix("PATCH /v1/upstreams/u/backends/b", f"Content-Type: {JSON}", body=body)
    problem_of(answer, 400)
