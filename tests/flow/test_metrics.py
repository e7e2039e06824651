"""Metrics as Prometheus fetches them from a running gateway."""

from prometheus_client.parser import text_string_to_metric_families

from gproxy.testing.backends import reply

BACKENDS = "one dead"
INI = """
[gateway]
handlers = metrics, health, rate_limit
timeout = 2s
[handler:metrics]
[handler:health]
cache = 0s
[handler:rate_limit]
limit = 5/minute
key = header:X-User
[route:users]
path = /users
upstream = one
[route:dead]
path = /dead
upstream = dead
[upstream:one]
backends = {one}
[upstream:dead]
backends = {dead}
retries = 1
[log]
access = log/access.log
"""


def figures(gateway):
    answer = gateway.get("/metrics")
    assert answer.status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def since(before, after):
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def test_requests_are_counted(play):
    before = figures(play.gateway)
    play.one.act = reply(b"x" * 100)
    for _ in range(3):
        play.gateway.get("/users/1")
    play.gateway.ask("POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    play.gateway.get("/nowhere")
    play.gateway.ask("nonsense\r\n\r\n")
    play.gateway.wait_until_idle()
    more = since(before, figures(play.gateway))
    assert more["gproxy_requests_total", "", "users", "200"] == 4
    assert more["gproxy_requests_total", "no_route", "", "404"] == 1
    assert [value for name, value in more.items() if name[0] == "gproxy_requests_total" and name[-1] == "400"] == [1]
    assert more["gproxy_request_duration_seconds_count", "users"] == 4
    assert more["gproxy_request_duration_seconds_bucket", "+Inf", "users"] == 4
    assert 0 < more["gproxy_request_duration_seconds_sum", "users"] < 4
    assert more["gproxy_response_bytes_total", "users"] == 400
    assert more["gproxy_request_bytes_total", "users"] == 5
    assert more["gproxy_backend_attempts_total", play.one.url.removeprefix("http://"), "one"] == 4
    assert more["gproxy_backend_duration_seconds_count", "one"] == 4
    assert 0 < more["gproxy_backend_duration_seconds_sum", "one"] < more["gproxy_request_duration_seconds_sum", "users"]
    assert ("gproxy_retries_total", "users") not in more


def test_what_is_refused_by_the_rate_limit_is_counted(play):
    before = figures(play.gateway)
    for _ in range(8):
        play.gateway.get("/users/1", "X-User: alice")
    more = since(before, figures(play.gateway))
    assert more["gproxy_rate_limited_total", "rate_limit"] == 3
    assert more["gproxy_requests_total", "rate_limited", "users", "429"] == 3
    assert more["gproxy_requests_total", "", "users", "200"] == 5


def test_failures_are_counted(play):
    before = figures(play.gateway)
    play.dead.act = lambda peer, _: peer.close()
    assert play.gateway.get("/dead", "X-User: bob").status == 502
    more = since(before, figures(play.gateway))
    assert more["gproxy_requests_total", "backend_reset", "dead", "502"] == 1
    name = play.dead.url.removeprefix("http://")
    assert (
        more["gproxy_backend_failures_total", name, "dead"] == more["gproxy_backend_attempts_total", name, "dead"] > 0
    )


def test_the_gateway_itself(play):
    with play.gateway.connect(), play.gateway.connect():
        now = figures(play.gateway)
        assert now[("gproxy_connections",)] >= 3
    assert now[("gproxy_requests_in_flight",)] == 1  # the one that asks
    assert now[("gproxy_workers",)] == 1
    assert now["gproxy_worker_memory_bytes", "1"] > 10_000_000
    assert now["gproxy_backend_healthy", play.one.url.removeprefix("http://"), "one", "1"] == 1
