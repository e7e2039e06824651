"""Handlers that only report: what is noted, and where."""

import pytest

from gproxy.config.sections.chain import ChainOptions
from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.policy.steps import PolicySteps
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.state.store import StoreUnavailableError
from gproxy.testing import answer, request

from .conftest import Scene


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPError(429), 429),
        (ValueError("broken"), 500),
        (SystemExit("goodbye"), 500),
        (StoreUnavailableError("away"), 503),
    ],
)
def test_a_report_has_the_status_that_the_request_would_have_got(report, error, status):
    report.fail(error)
    asked, response = report.ask()
    assert (response.status, asked.reason) == (200, "")
    assert asked.exchange.report == f"one={status}"
    assert asked.headers["Gproxy-Report"] == response.headers["Gproxy-Report"] == f"one;status={status}"


def test_several_reports_are_listed_in_the_order_of_the_chain():
    def reject(request, following):
        raise HTTPError(429)

    def deny(request, following):
        raise HTTPError(403)

    options = dict.fromkeys(("limit", "rules"), ChainOptions(mode="report"))
    steps = PolicySteps({"limit": reject, "rules": deny}, ErrorResponses(), Runtime(), options, "backend")
    asked = request()
    response = compose([step for _, step in steps.chain(["limit", "rules"])], answer())(asked)
    assert asked.exchange.report == "limit=429,rules=403"
    assert asked.headers["Gproxy-Report"] == "limit;status=429, rules;status=403"
    assert "gproxy-report" not in response.headers


def test_a_handler_that_calls_next_again_is_noted_once():
    def retry(request, following):
        following(request)
        return following(request)

    def reject(request, following):
        raise HTTPError(429)

    steps = PolicySteps({"one": reject}, ErrorResponses(), Runtime(), {"one": ChainOptions(mode="report")})
    asked = request()
    compose([retry, steps.chain(["one"])[0][1]], answer())(asked)
    assert asked.exchange.report == "one=429"


def test_an_answer_of_a_handler_is_closed_if_it_only_reports(report):
    closed = []

    def redirect(request, following):
        response = answer(302)(request)
        response.on_close(lambda: closed.append(True))
        return response

    report.act = redirect
    asked, response = report.ask()
    assert (response.status, asked.exchange.report, closed) == (200, "one=302", [True])


def test_an_identity_handler_answers_its_document_in_every_mode():
    scene = Scene(mode="report")
    scene.own_path = "/.well-known/oauth-protected-resource"
    chain = PolicySteps({"one": scene}, scene.errors, Runtime(), {"one": ChainOptions(mode="report")})
    scene.act = lambda request, following: answer(203)(request)
    (_, step) = chain.chain(["one"])[0]
    assert step(request("GET", scene.own_path), scene.next).status == 203
    assert step(request("GET", "/other"), scene.next).status == 200
