"""Every operation of the admin API is described: for the OpenAPI document, docs/admin.md and the commands."""

import re

import jsonschema
import pytest

from gproxy.monitor.api.openapi import document
from gproxy.monitor.api.operations import OPERATIONS

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def test_names_and_places_are_unique():
    assert len(BY_NAME) == len(OPERATIONS)
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_says_what_it_does_takes_and_returns(name):
    """A new operation needs a summary, a text for each parameter, and a schema for an answer in JSON."""
    operation = BY_NAME[name]
    assert operation.summary
    assert not operation.summary.endswith(".")
    assert all(parameter.doc for parameter in (*operation.query, *operation.body))
    assert not (operation.query and operation.acts), "an operation that changes something takes a body"
    if "application/json" in operation.media_types:
        assert operation.result, "see gproxy/monitor/answers/schemas.py"
        jsonschema.Draft202012Validator.check_schema(operation.result)


def test_no_parameter_in_a_path_has_the_name_of_another_one():
    for one in OPERATIONS:
        names = [*re.findall(r"\{(\w+)\}", one.path), *(parameter.name for parameter in (*one.query, *one.body))]
        assert len(set(names)) == len(names)


def test_the_document_has_each_operation_with_its_answer_its_errors_and_its_right():
    found = document(OPERATIONS)
    assert found["openapi"] == "3.1.0"
    for one in OPERATIONS:
        described = found["paths"][one.path][one.method.lower()]
        assert described["operationId"] == one.name
        assert set(described["responses"]) == {str(one.status), "default"}
        assert ("requestBody" in described) == one.acts
        assert (described.get("security") == [{}]) == one.is_public
        schemas = [parameter["schema"] for parameter in described["parameters"]]
        for schema in schemas:
            jsonschema.Draft202012Validator.check_schema(schema)
