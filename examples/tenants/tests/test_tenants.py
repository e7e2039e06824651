"""The gateway of gproxy.ini with the installed handler, without sockets."""

import pytest

ALPHA = {"X-API-Key": "gp_example_key_of_alpha"}
BETA = {"X-API-Key": "gp_example_key_of_beta"}


def test_the_tenant_is_in_the_path(gproxy):
    api = gproxy.backend("api")
    assert gproxy.get("/reports?year=2026", ALPHA).status == 200
    assert gproxy.get("/reports", BETA).status == 200
    assert [request.path for request in api.requests] == ["/alpha/reports", "/beta/reports"]
    assert gproxy.line["user"] == "beta"


@pytest.mark.parametrize("path", ["/../beta/reports", "/%2e%2e/beta/reports", "/x/..%2f..%2fbeta/reports"])
def test_no_path_leads_to_another_tenant(gproxy, path):
    api = gproxy.backend("api")
    gproxy.get(path, ALPHA)
    assert all(request.path.startswith("/alpha/") and ".." not in request.path for request in api.requests)


def test_no_key_no_backend(gproxy):
    api = gproxy.backend("api")
    assert gproxy.get("/reports").status == 401
    assert gproxy.get("/reports", {"X-API-Key": "gp_a_key_that_nobody_has"}).status == 401
    assert api.requests == []


def test_each_plan_has_its_limit(gproxy):
    gold = [gproxy.get("/reports", ALPHA).status for _ in range(30)]
    free = [gproxy.get("/reports", BETA).status for _ in range(30)]
    assert (gold.count(429), free.count(429)) == (0, 20)


def test_deep_paths_are_rejected(gproxy):
    assert gproxy.get("/a" * 21, ALPHA).status == 404
    assert gproxy.line["reason"] == "deep_path"
