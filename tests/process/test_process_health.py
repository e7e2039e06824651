"""Feature 10: /health and /ready."""

import json
import time

from shipped import UNLIMITED, curl, running

from gproxy.testing.gateway import eventually


def test_health_says_how_the_gateway_and_its_backends_are(ours):
    answer = ours.get("/health")
    assert (answer.status, answer["content-type"], answer["cache-control"]) == (200, "application/json", "no-store")
    facts = json.loads(answer.body)
    assert facts["status"] == "up"
    assert 0 < facts["uptime"] < 600
    assert 10_000_000 < facts["memory"] < 500_000_000
    assert facts["greenlets"] > 0
    states = {name: [backend["state"] for backend in backends] for name, backends in facts["upstreams"].items()}
    assert states == {"users": ["healthy", "healthy"], "orders": ["healthy"]}


def test_health_needs_no_token_and_reaches_no_backend(ours):
    before = ours.received
    assert json.loads(curl(f"http://127.0.0.1:{ours.port}/health"))["status"] == "up"
    assert ours.get("/health", method="HEAD").status == 200
    refused = ours.get("/health", method="DELETE")
    assert (refused.status, refused["allow"]) == (405, "GET, HEAD")
    assert ours.received == before


def test_figures_are_kept_for_a_second(ours):
    time.sleep(1.05)
    first = ours.health()
    assert {ours.health()["uptime"] for _ in range(5)} == {first["uptime"]}
    time.sleep(1.05)
    assert ours.health()["uptime"] >= first["uptime"] + 1


def test_greenlets_are_those_that_live(ours):
    wires = [ours.connect() for _ in range(20)]
    for wire in wires:
        wire.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read_response()
    time.sleep(1.05)
    assert ours.health()["greenlets"] >= 20
    for wire in wires:
        wire.sock.close()
    time.sleep(1.05)
    assert ours.health()["greenlets"] < 20


def test_a_backend_that_is_gone_is_unhealthy_and_not_asked(tmp_path):
    with running(tmp_path, UNLIMITED) as ours:
        ours.one.stop()
        answers = [ours.get("/users", ours.bearer()) for _ in range(10)]
        assert [answer.status for answer in answers] == [200] * 10  # the other one stood in
        assert sum(int(ours.line_of(answer)["tries"]) for answer in answers) == 13
        facts = ours.health()
        assert facts["status"] == "up"
        gone, other = facts["upstreams"]["users"]
        assert (gone["state"], gone["why"], gone["failures"]) == ("unhealthy", "connect_refused", 3)
        assert other["state"] == "healthy"
        assert "ejected for" in ours.wait_for_line("ejected for")


def test_an_upstream_without_a_healthy_backend_makes_it_degraded(tmp_path):
    probed = ("[upstream:orders]", "[upstream:orders]\nhealth_path = /ping\nhealth_interval = 100ms\nfall = 1")
    with running(tmp_path, UNLIMITED, probed) as ours:
        assert ours.health()["status"] == "up"
        ours.two.stop()
        eventually(lambda: ours.health()["status"] == "degraded", "degraded")
        (backend,) = ours.health()["upstreams"]["orders"]
        assert backend["state"] == "unhealthy"
        assert ours.get("/ready").status == 200


def test_ready(ours):
    answer = ours.get("/ready")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ready"})


def test_a_client_from_elsewhere_sees_no_details(tmp_path):
    with running(tmp_path, UNLIMITED, ("trusted_proxies =  ", "trusted_proxies = 127.0.0.1 ")) as ours:
        ours.one.stop()
        [ours.get("/users", ours.bearer()) for _ in range(10)]
        answer = ours.get("/health", "X-Forwarded-For: 203.0.113.9")
        facts = json.loads(answer.body)
        assert set(facts) == {"status", "uptime", "memory", "greenlets", "upstreams"}
        assert facts["upstreams"] == {
            "users": {"healthy": 1, "backends": 2},
            "orders": {"healthy": 1, "backends": 1},
        }
        for hidden in (str(ours.two.port), "localhost", "refused", *map(str, ours.workers)):
            assert hidden not in answer.body.decode().replace(str(facts["memory"]), "")
        assert ours.health()["upstreams"]["users"][0]["why"]
