"""The response and the reason for each exception."""

import json
import logging

import pytest

from gproxy.gateway.error_responses import PLAIN, ErrorResponses
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.state.store import StoreUnavailableError
from gproxy.testing import answer, request
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
        (Expired(TimeLimit.CUT), 503, "cut"),
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
    assert (PLAIN.respond(error, made).status, made.reason) == (status, reason)


def test_a_deadline_without_an_attempt_is_the_handlers(caplog):
    made = asked(tries=0)
    response = PLAIN.respond(Expired(TimeLimit.DEADLINE), made)
    assert (response.status, made.reason) == (504, "handler_timeout")
    assert response.headers.get("proxy-status") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_drain_without_an_attempt_stays_a_drain(caplog):
    made = asked(tries=0)
    assert (PLAIN.respond(Expired(TimeLimit.DRAINING), made).status, made.reason) == (503, "draining")
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
    assert PLAIN.respond(error, asked()).headers[name] == value


def test_an_unforeseen_error_is_logged_and_not_shown(caplog):
    response = PLAIN.respond(ValueError("secret"), asked())
    assert b"secret" not in response.read()
    assert caplog.messages == ["test GET /x: a handler failed"]
    assert caplog.records[0].exc_info[1].args == ("secret",)


def test_a_broken_body_is_logged_with_its_backend(caplog):
    made = asked()
    made.backend = "a:80"
    PLAIN.respond(BrokenBodyError("cut"), made)
    assert caplog.messages == ["test GET /x: backend a:80 broke off its response: cut"]


def test_a_problem_in_json():
    response = PLAIN.problem(HTTPError(413, "too large"), "id", "*/*")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert json.loads(response.read()) == {
        "status": 413, "title": "Content Too Large", "detail": "too large", "request_id": "id",
    }  # fmt: skip


def test_a_problem_is_written_as_the_json_module_does():
    detail = '<b>"a\\b"</b>\n\t\x00 \u20ac \U0001f600 \ud800'
    members = {"status": 418, "title": "I'm a Teapot", "detail": detail, "request_id": '"id"'}
    assert PLAIN.problem(HTTPError(418, detail), '"id"').read() == json.dumps(members).encode()


def test_an_empty_detail_is_omitted():
    assert json.loads(PLAIN.problem(HTTPError(404), "id").read()).keys() == {"status", "title", "request_id"}


def test_a_problem_in_text_for_a_client_without_json():
    response = PLAIN.problem(HTTPError(404, "no route"), "id", "text/plain")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.read() == b"404 Not Found: no route (id)\n"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def test_a_page_for_a_browser_with_everything_escaped():
    response = PLAIN.problem(HTTPError(403, "<b>&\"'\u20ac\ud800"), "<id>", BROWSER)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    page = response.read().decode()
    assert (
        "<h1>403 Forbidden</h1>\n<p>&lt;b&gt;&amp;&quot;&#x27;\u20ac?</p>\n<p>Request <code>&lt;id&gt;</code>" in page
    )
    assert "color-scheme: light dark" in page
    assert '<html lang="en">' in page
    assert "//" not in page  # nothing is loaded


@pytest.mark.parametrize("accept", [None, "*/*", BROWSER, "text/plain"])
def test_no_cache_keeps_an_error_and_each_names_what_it_depends_on(accept):
    headers = PLAIN.problem(HTTPError(404), "id", accept).headers
    assert (headers["Cache-Control"], headers["Vary"]) == ("no-store", "Accept")


def test_a_handler_may_say_more():
    mine = {"Cache-Control": "max-age=5", "Vary": "Cookie"}
    headers = PLAIN.problem(HTTPError(410, "gone", mine), "id").headers
    assert (headers["Cache-Control"], headers["Vary"]) == ("max-age=5", "Accept, Cookie")


def test_responses_of_backends_are_replaced_by_status():
    closed = []

    def forward(asked):
        headers = {"Retry-After": "7", "Server": "secret", "Content-Encoding": "gzip"}
        response = Response(int(asked.path[1:]), b"theirs", headers)
        response.on_close(lambda: closed.append(asked.path))
        return response

    replacing = ErrorResponses(replaced=frozenset({502, 503})).around(forward)
    made = request("GET", "/503")
    response = replacing(made)
    assert (response.status, made.reason, closed) == (503, "backend_status", ["/503"])
    assert response.headers["Proxy-Status"] == "gproxy; received-status=503"
    assert response.headers["Retry-After"] == "7"
    assert not {"Server", "Content-Encoding"} & {*response.headers}
    assert json.loads(response.read())["title"] == "Service Unavailable"
    assert replacing(request("GET", "/504")).read() == b"theirs"


def test_without_statuses_to_replace_the_action_stays_as_it_is():
    action = answer()
    assert PLAIN.around(action) is action


def test_a_status_without_a_name_is_an_error():
    assert json.loads(PLAIN.problem(HTTPError(499), "id").read())["title"] == "Error"
