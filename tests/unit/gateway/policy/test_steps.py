"""What chains call: handlers without options as they are, and the steps of those with options."""

from gproxy.config.sections.chain import ChainOptions
from gproxy.config.types import Rate, Seconds
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.policy.steps import PolicySteps
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.testing import request

from .conftest import Scene


def test_a_handler_without_options_is_called_as_it_is():
    def plain(request, following):
        return following(request)

    steps = PolicySteps({"plain": plain}, ErrorResponses(), Runtime(), {"plain": ChainOptions()})
    assert steps.chain(["plain"]) == [("plain", plain)]
    assert steps.snapshot() == {}


def test_a_handler_that_is_off_is_not_in_the_chain():
    assert Scene(mode="off").steps.chain(["one"]) == []


def test_a_route_makes_a_handler_report_whatever_its_mode():
    for mode in ("enforce", "off"):
        scene = Scene(report=["one"], mode=mode)
        scene.fail(HTTPError(403))
        asked, response = scene.ask()
        assert (response.status, asked.exchange.report) == (200, "one=403")


def test_the_steps_of_several_chains_have_one_count_of_errors():
    scene = Scene(on_error="skip", error_limit=Rate(1, Seconds(10)))
    (_, first), (_, second) = *scene.steps.chain(["one"]), *scene.steps.chain(["one"], ["one"])
    assert first is not second
    scene.fail(ValueError())
    first(request(), scene.next)
    second(request(), scene.next)
    assert scene.calls == 1
