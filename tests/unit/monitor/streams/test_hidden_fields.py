"""Fields of access lines that the monitor masks."""

import json

import pytest

from gproxy.monitor.streams.hidden_fields import hidden


@pytest.mark.parametrize(
    "name", ["query", "request.Authorization", "request.cookie", "response.Set-Cookie", "request.x-api-key"]
)
def test_secret_fields_are_masked_in_both_formats(name):
    assert hidden(f"path:/users\t{name}:a=secret:1\tstatus:200") == f"path:/users\t{name}:***\tstatus:200"
    line = hidden(json.dumps({"path": "/users", name: "secret", "status": 200}))
    assert json.loads(line) == {"path": "/users", name: "***", "status": 200}


@pytest.mark.parametrize(
    "line",
    [
        "path:/query\trequest.accept:text/html\tstatus:200",
        json.dumps({"path": "/query", "request.accept": "text/html"}),
        '10.0.0.1 - - [29/Nov/2026:09:00:00 +0000] "GET /query HTTP/1.1" 200 5 "-" "-"',
    ],
)
def test_other_fields_stay(line):
    assert hidden(line) == line


def test_a_broken_line_is_not_shown():
    assert hidden('{"query": "secret') == "***"
