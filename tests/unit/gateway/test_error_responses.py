"""The response and the reason for each exception."""

import json
import logging

import pytest

from gproxy.gateway.error_responses import problem, respond
from gproxy.http.errors import HTTPError
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.state.store import StoreUnavailableError
from gproxy.testing import request
from gproxy.upstream.errors import BrokenBodyError


def asked(tries=1, **headers):
    made = request("GET", "/x", headers)
    made.tries = tries
    return made


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (HTTPError(404), 404, "no_route"),
        (HTTPError(403, reason="own"), 403, "own"),
        (Expired(TimeLimit.DRAINING), 503, "draining"),
        (Expired(TimeLimit.BODY), 408, "client_timeout"),
        (Expired(TimeLimit.HEAD), 408, "client_timeout"),
        (Expired(TimeLimit.DEADLINE), 504, "backend_timeout"),
        (Expired(TimeLimit.READ), 504, "read_timeout"),
        (Expired(TimeLimit.ATTEMPT), 504, "backend_timeout"),
        (Expired(TimeLimit.WRITE), 504, "backend_timeout"),
        (BrokenBodyError("cut"), 502, "backend_reset"),
        (StoreUnavailableError(), 503, "store_unavailable"),
        (ValueError("broken"), 500, "handler_error"),
    ],
    ids=str,
)
def test_each_exception_has_its_status_and_reason(error, status, reason):
    made = asked()
    assert (respond(error, made).status, made.reason) == (status, reason)


def test_a_deadline_without_an_attempt_is_the_handlers(caplog):
    made = asked(tries=0)
    response = respond(Expired(TimeLimit.DEADLINE), made)
    assert (response.status, made.reason) == (504, "handler_timeout")
    assert response.headers.get("proxy-status") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_drain_without_an_attempt_stays_a_drain(caplog):
    made = asked(tries=0)
    assert (respond(Expired(TimeLimit.DRAINING), made).status, made.reason) == (503, "draining")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (Expired(TimeLimit.DRAINING), "Retry-After", "1"),
        (Expired(TimeLimit.DEADLINE), "Proxy-Status", "gproxy; error=http_response_timeout"),
        (Expired(TimeLimit.READ), "Proxy-Status", "gproxy; error=connection_read_timeout"),
        (StoreUnavailableError(), "Retry-After", "1"),
        (HTTPError(405, headers={"Allow": "GET"}), "Allow", "GET"),
    ],
    ids=str,
)
def test_the_headers_of_an_error(error, name, value):
    assert respond(error, asked()).headers[name] == value


def test_an_unforeseen_error_is_logged_and_not_shown(caplog):
    response = respond(ValueError("secret"), asked())
    assert b"secret" not in response.read()
    assert caplog.messages == ["test GET /x: a handler failed"]
    assert caplog.records[0].exc_info[1].args == ("secret",)


def test_a_broken_body_is_logged_with_its_backend(caplog):
    made = asked()
    made.backend = "a:80"
    respond(BrokenBodyError("cut"), made)
    assert caplog.messages == ["test GET /x: backend a:80 broke off its response: cut"]


def test_a_problem_in_json():
    response = problem(HTTPError(413, "too large"), "id", "*/*")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert json.loads(response.read()) == {
        "status": 413, "title": "Content Too Large", "detail": "too large", "request_id": "id",
    }  # fmt: skip


def test_an_empty_detail_is_omitted():
    assert json.loads(problem(HTTPError(404), "id").read()).keys() == {"status", "title", "request_id"}


def test_a_problem_in_text_for_a_client_without_json():
    response = problem(HTTPError(404, "no route"), "id", "text/html")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.read() == b"404 Not Found: no route (id)\n"


def test_a_status_without_a_name_is_an_error():
    assert json.loads(problem(HTTPError(499), "id").read())["title"] == "Error"
