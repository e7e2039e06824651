"""The OpenAPI document of the admin API, made from the table of operations (OpenAPI 3.1)."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gproxy import __version__
from gproxy.http.response import PHRASES
from gproxy.monitor.api.operation import Call, Operation, Parameter
from gproxy.monitor.api.schema import COUNT, TEXT, Schema, record

#: The schema of errors.
PROBLEM: Final = record({"detail": TEXT, "request_id": TEXT}, status=COUNT, title=TEXT)
_SECURITY_SCHEMES: Final = {
    "token": {"type": "http", "scheme": "bearer", "description": "token or read_token of [admin], on TCP"},
    "session": {"type": "apiKey", "in": "cookie", "name": "gproxy_admin", "description": "what POST /login gives"},
}
#: The last one: a unix socket needs neither, because its permissions are the authentication.
_SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}, {"session": []}, {}]
#: The schema of a parameter in the URL, by its kind.
_IN_URL: Final[dict[str, Schema]] = {
    "text": TEXT,
    "number": {"type": "integer"},
    "seconds": {"type": "string", "description": "a time such as 2s, 500ms or 10m"},
    "boolean": {"type": "string", "enum": ["yes", "no", "true", "false", "1", "0", ""]},
}
#: The schema of a field in a body, by its kind.
_IN_BODY: Final[dict[str, Schema]] = {
    "text": TEXT,
    "number": {"type": "integer"},
    "seconds": {"type": ["string", "number"], "description": "a time such as 2s or 10m, or a number of seconds"},
    "boolean": {"type": "boolean"},
}


def openapi(call: Call) -> dict[str, Any]:
    """Return the document of the listener's operations."""
    return document(call.operations)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of the operations."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gproxy admin API",
            "version": __version__,
            "description": "Times are RFC 3339, durations are seconds, errors are problem details (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM}, "securitySchemes": _SECURITY_SCHEMES},
        "security": _SECURITY,
    }


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_of_path(operation), *map(_of_query, operation.query)],
        "responses": {
            str(operation.status): {
                "description": PHRASES[operation.status],
                "content": {one: {"schema": _answer(operation, one)} for one in operation.media_types},
            },
            "default": {
                "description": "an error",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if operation.acts:
        kind = "application/x-www-form-urlencoded" if operation.is_form else "application/json"
        found["requestBody"] = {"content": {kind: {"schema": _body(operation)}}}
    if operation.is_public:
        found["security"] = [{}]
    return found


def _answer(operation: Operation, media_type: str) -> Schema:
    return (operation.result or {}) if media_type == "application/json" else TEXT


def _of_path(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": TEXT}


def _of_query(parameter: Parameter) -> dict[str, Any]:
    schema = _with_choices(_IN_URL[parameter.kind], parameter)
    return {"name": parameter.name, "in": "query", "description": parameter.doc, "schema": schema}


def _body(operation: Operation) -> Schema:
    fields = {one.name: {"description": one.doc, **_with_choices(_IN_BODY[one.kind], one)} for one in operation.body}
    required = [one.name for one in operation.body if one.is_required]
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _with_choices(schema: Schema, parameter: Parameter) -> Schema:
    return {**schema, "enum": list(parameter.choices)} if parameter.choices else schema
