import importlib.util
from pathlib import Path

import pytest

from gproxy import HTTPError
from gproxy.config.types import Seconds
from gproxy.testing import answer, request

FILE = Path(__file__).parents[3] / "etc" / "handlers.py"


@pytest.fixture(scope="module")
def examples():
    spec = importlib.util.spec_from_file_location("example_handlers", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tenant(examples):
    asked = request("GET", "/", {"Host": "Shop.example.com:8080", "X-Tenant": "blog"})
    asked.backend = "127.0.0.1:5001"
    response = examples.tenant(asked, answer())
    assert asked.headers.all("X-Tenant") == ["shop"]
    assert response.headers["X-Served-By"] == "127.0.0.1:5001"


def test_an_unknown_tenant(examples):
    with pytest.raises(HTTPError) as caught:
        examples.tenant(request(), answer())
    assert caught.value.status == 404


def test_an_answer_without_a_backend(examples):
    assert "x-served-by" not in examples.tenant(request(headers={"Host": "shop.example.com"}), answer(429)).headers


def test_maintenance(examples, tmp_path):
    flag = tmp_path / "maintenance"
    handler = examples.Maintenance(flag=flag, retry_after=Seconds(120.0))
    assert handler(request("GET", "/"), answer(200)).status == 200
    flag.touch()
    with pytest.raises(HTTPError) as caught:
        handler(request("GET", "/"), answer(200))
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "120")


def test_maintenance_checks_its_options(examples):
    with pytest.raises(ValueError, match=r"^retry_after: "):
        examples.Maintenance(retry_after=Seconds(0.0))
