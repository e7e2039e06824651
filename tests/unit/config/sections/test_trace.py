"""The options of `[trace]`: what is rejected, and what the environment states."""

import pytest

from gproxy.config.sections import trace
from gproxy.config.sections.trace import TraceSettings, pairs
from gproxy.config.types import Secret

ENDPOINT = "http://localhost:4318/v1/traces"


@pytest.fixture(autouse=True)
def exporter(monkeypatch):
    """The exporter, as if it was installed."""
    monkeypatch.setattr(trace, "_has_exporter", lambda: True)


def test_an_endpoint_needs_the_extra(monkeypatch):
    monkeypatch.setattr(trace, "_has_exporter", lambda: False)
    TraceSettings()
    with pytest.raises(ValueError, match=r"endpoint: needs .* pip install 'gproxy\[otel\]'"):
        TraceSettings(endpoint=ENDPOINT)


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4318",
        "grpc://localhost",
        "http://",
        "http://[::1",
        "http://a:0",
        "http://user:word@a",
        "http://a/?key=1",
    ],
)
def test_an_endpoint_is_a_url(endpoint):
    with pytest.raises(ValueError, match="endpoint: expected a URL"):
        TraceSettings(endpoint=endpoint)


@pytest.mark.parametrize("headers", ["alone", "a b=1", "=1", "a=1%0d%0ab: 2", "a=1,alone"])
def test_headers_are_pairs_that_garble_no_head(headers):
    with pytest.raises(ValueError, match="headers: expected NAME=VALUE"):
        TraceSettings(headers=Secret(headers))


def test_pairs_are_decoded():
    assert pairs("a=1, b = x%20y ,,c=d=e") == {"a": "1", "b": "x y", "c": "d=e"}


def of(environ, *written, **options):
    return TraceSettings(**options).with_environment(environ, frozenset(written))


def test_the_environment_counts_where_the_section_is_silent():
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318/",
        "OTEL_EXPORTER_OTLP_HEADERS": "key=1",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_RESOURCE_ATTRIBUTES": "team=edge,service.name=loses",
    }
    found = of(environ)
    assert (found.endpoint, found.service) == ("http://other:4318/v1/traces", "shop")
    assert found.attributes == {"team": "edge"} and found.headers == Secret("key=1")
    kept = of(environ, "endpoint", "service", endpoint=ENDPOINT, service="mine")
    assert (kept.endpoint, kept.service, kept.attributes) == (ENDPOINT, "mine", {"team": "edge"})


def test_an_endpoint_for_traces_is_taken_as_it_is():
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}
    assert of(environ).endpoint == "http://a/x"


def test_the_service_may_be_an_attribute():
    assert of({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop"}).service == "shop"


def test_disabled_turns_traces_off():
    assert of({"OTEL_SDK_DISABLED": "TRUE"}, "endpoint", endpoint=ENDPOINT).endpoint == ""


def test_a_wrong_variable_is_named():
    with pytest.raises(ValueError, match=r"endpoint: expected a URL.*of the environment"):
        of({"OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere"})


def test_an_empty_environment_changes_nothing():
    assert of({"OTEL_SERVICE_NAME": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}) == TraceSettings()
