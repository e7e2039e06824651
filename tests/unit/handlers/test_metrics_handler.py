import pytest

from gproxy.handlers.metrics import Metrics
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.testing import answer, request


@pytest.fixture
def runtime():
    return Runtime()


@pytest.fixture
def handler(runtime):
    made = Metrics()
    made.open(runtime)
    yield made
    runtime.metrics.stop()


def ask(handler, method="GET", path="/metrics", client="127.0.0.1", **headers):
    asked = request(method, path, headers)
    asked.client = client
    return handler(asked, answer(204))


def test_the_page(handler, runtime):
    runtime.metrics.series("gproxy_retries_total", "users").cells[0] += 2
    response = ask(handler)
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert response.headers["Cache-Control"] == "no-store"
    lines = response.body.decode().splitlines()
    assert 'gproxy_retries_total{route="users"} 2.0' in lines
    assert "gproxy_workers 1.0" in lines
    assert "gproxy_workers_started_total 1.0" in lines
    assert any(line.startswith('gproxy_worker_memory_bytes{worker="1"} ') for line in lines)


def test_openmetrics_by_accept(handler):
    response = ask(handler, Accept="application/openmetrics-text")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")


def test_other_paths_reach_the_next_step(handler):
    assert ask(handler, path="/metrics/").status == 204
    assert ask(handler, path="/").status == 204


@pytest.mark.parametrize("client", ["10.0.0.1", "::2", ""])
def test_other_machines_may_not_read_the_page(handler, client):
    with pytest.raises(HTTPError) as caught:
        ask(handler, client=client)
    assert (caught.value.status, caught.value.reason) == (403, "forbidden")


@pytest.mark.parametrize("client", ["127.0.0.1", "127.1.2.3", "::1", "unix"])
def test_this_machine_may_read_the_page(handler, client):
    assert ask(handler, client=client).status == 200


def test_only_get_and_head_are_allowed(handler):
    with pytest.raises(HTTPError) as caught:
        ask(handler, method="POST")
    assert (caught.value.status, caught.value.headers["Allow"]) == (405, "GET, HEAD")


def test_a_path_begins_with_a_slash():
    with pytest.raises(ValueError, match="path: 'metrics' is not a path"):
        Metrics(path="metrics")
