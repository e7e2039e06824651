"""A whole gateway in a test: what a handler's author can expect of it."""

import math
import time
from pathlib import Path

import gevent
import pytest

from gproxy import Response
from gproxy.testing import answer, refused, reset, slow
from gproxy.testing.answers import Slow
from gproxy.testing.kit.gateway import KitGateway

ONE = """
[upstream:users]
backends = http://10.0.0.1:81
[route:users]
path = /users
upstream = users
{more}
"""
TWO = ONE.replace("http://10.0.0.1:81", "http://10.0.0.1:81, http://10.0.0.2:81")


def with_handler(name, more=""):
    return ONE.replace("{more}", f"handlers = own\n[handler:own]\nuse = unit.testing.kit.handlers:{name}\n{more}")


one = pytest.mark.gproxy(ONE.replace("{more}", ""))
two = pytest.mark.gproxy(TWO.replace("{more}", ""))


@one
def test_a_request_passes_the_whole_gateway(gproxy):
    users = gproxy.backend("users", answer(201, b"made", {"X-Answer": "yes"}))
    response = gproxy.get("/users/1?x=2", {"X-Real-IP": "spoofed", "Connection": "X-Hop", "X-Hop": "1"})
    assert (response.status, response.body, response.headers["X-Answer"]) == (201, b"made", "yes")
    (got,) = users.requests
    assert (got.method, got.path, got.query, got.host) == ("GET", "/users/1", "x=2", "gateway.test")
    assert got.headers["X-Real-IP"] == got.headers["X-Forwarded-For"] == "192.0.2.1"
    assert "X-Hop" not in got.headers
    assert got.headers["X-Request-ID"] == response.headers["X-Request-ID"] == gproxy.line["id"]


@pytest.mark.gproxy(ONE.replace("http://10.0.0.1:81", "https://10.0.0.1:81\nhttp2 = auto").replace("{more}", ""))
def test_a_backend_of_http2_is_a_backend(gproxy):
    """Memory has one protocol."""
    users = gproxy.backend("users", answer(200, b"yes"))
    assert gproxy.get("/users").body == b"yes"
    assert len(users.requests) == 1


@one
def test_the_access_line_is_the_real_one(gproxy):
    gproxy.backend("users", answer(200, b"12345"))
    gproxy.post("/users", b"abc", client="192.0.2.7")
    line = gproxy.line
    assert (line["status"], line["client"], line["route"], line["backend"]) == (
        200,
        "192.0.2.7",
        "users",
        "10.0.0.1:81",
    )
    assert (line["size"], line["reqsize"], line["tries"], line["reason"], line["duration"]) == (5, 3, 1, "", 0.0)
    gproxy.get("/nowhere")
    assert (gproxy.line["status"], gproxy.line["route"], len(gproxy.lines)) == (404, "", 2)


@pytest.mark.gproxy(
    ONE.replace("{more}", "") + "[log]\nfields = status, apptime, request.X-Plan\nskip = /users/quiet 2xx"
)
def test_the_log_is_as_the_settings_say(gproxy):
    gproxy.backend("users", slow(2))
    gproxy.get("/users", {"X-Plan": "gold"})
    gproxy.get("/users/quiet")
    assert gproxy.lines == [{"status": 200, "apptime": 2.0, "request.X-Plan": "gold"}]


@one
def test_a_body_goes_both_ways(gproxy):
    users = gproxy.backend("users", lambda request: Response(200, [request.body.buffer(100), b"!"]))
    assert gproxy.post("/users", b"abc").body == b"abc!"
    assert gproxy.post("/users", {"a": 1}).text == '{"a": 1}!'
    assert users.requests[1].headers["Content-Type"] == "application/json"
    gproxy.backend("users", answer(200, b'{"b": [2]}'))
    assert gproxy.get("/users").json() == {"b": [2]}


@one
def test_a_long_response_and_its_pieces_arrive_whole(gproxy):
    whole = b"x" * 1_000_000
    users = gproxy.backend("users", answer(200, whole))
    assert gproxy.get("/users").body == whole
    users.answer_with(answer(200, [whole, b"", whole]))
    assert gproxy.get("/users").body == whole * 2
    users.answer_with(answer(200, b"abc"))
    assert gproxy.request("HEAD", "/users").body == b""
    assert gproxy.get("/users").body == b"abc"


@one
def test_malformed_requests_are_rejected_as_on_the_wire(gproxy):
    assert gproxy.get("/users", {"Host": "a b"}).status == 400
    assert gproxy.get("/us ers").status == 400
    assert gproxy.request("POST", "/users", {"Content-Length": "x"}, b"abc").status == 400
    assert [line["status"] for line in gproxy.lines] == [400, 400, 400]


@pytest.mark.gproxy("[gateway]\ntimeout = 3s\n" + ONE.replace("{more}", ""))
def test_a_slow_backend_moves_the_clock_to_the_deadline(gproxy):
    gproxy.backend("users", slow(5))
    gproxy.expect_warning("did not respond in time")
    before, began = gproxy.clock.now, time.monotonic()
    assert gproxy.get("/users").status == 504
    assert gproxy.clock.now - before == gproxy.line["duration"] == 3.0
    assert gproxy.line["reason"] == "backend_timeout"
    assert time.monotonic() - began < 2.0


@pytest.mark.gproxy("[gateway]\ntimeout = 3s\n" + ONE.replace("{more}", ""))
def test_a_backend_within_the_deadline_answers_at_its_time(gproxy):
    gproxy.backend("users", slow(2.5, answer(200, b"late")))
    before = gproxy.clock.now
    assert gproxy.get("/users").body == b"late"
    assert gproxy.clock.now - before == 2.5


@pytest.mark.gproxy(ONE.replace("{more}", "").replace("http://10.0.0.1:81", "http://10.0.0.1:81\nread_timeout = 2s"))
def test_a_body_that_stops_is_broken_off(gproxy):
    gproxy.expect_warning("broken off")
    gproxy.backend("users", answer(200, [b"begin", slow(1), b"middle", slow(9), b"end"]))
    response = gproxy.get("/users")
    assert (response.body, response.is_complete) == (b"beginmiddle", False)
    assert (gproxy.line["reason"], gproxy.line["duration"]) == ("read_timeout", 3.0)
    gproxy.backend("users", answer(200, [b"begin", reset()]))
    assert gproxy.get("/users").is_complete is False
    assert gproxy.line["reason"] == "backend_reset"


@two
def test_failed_attempts_are_retried(gproxy):
    gproxy.expect_warning("without a response|refuses connections|ejected for")
    users = gproxy.backend("users", reset(), answer(200, b"second"))
    assert gproxy.get("/users").body == b"second"
    assert (gproxy.line["tries"], len(users.requests)) == (2, 2)
    gproxy.backend("users", refused(), at="10.0.0.1:81")
    assert [gproxy.get("/users").status for _ in range(4)] == [200] * 4
    assert max(line["tries"] for line in gproxy.lines) == 2


@two
def test_backends_are_ejected_and_return(gproxy):
    gproxy.expect_warning("ejected for")
    gproxy.expect_warning("restored")
    gproxy.expect_warning("refuses connections")
    first = gproxy.backend("users", refused(), at="10.0.0.1:81")
    for _ in range(10):
        assert gproxy.get("/users").status == 200
    assert [one["state"] for one in gproxy.upstreams["users"]] == ["unhealthy", "healthy"]
    first.answer_with(answer(200, b"back"))
    gproxy.clock.advance(120)
    assert b"back" in [gproxy.get("/users").body for _ in range(4)]
    assert [one["state"] for one in gproxy.upstreams["users"]] == ["healthy", "healthy"]


@pytest.mark.gproxy(
    ONE.replace("{more}", "").replace(
        "http://10.0.0.1:81", "http://10.0.0.1:81\nhealth_path = /up\nhealth_interval = 5s"
    )
)
def test_probes_run_in_virtual_time(gproxy):
    gproxy.expect_warning("health checks")
    users = gproxy.backend("users", answer(503))
    gproxy.clock.advance(60)
    assert 9 <= len([one for one in users.requests if one.path == "/up"]) <= 13
    assert gproxy.upstreams["users"][0]["state"] == "unhealthy"
    users.answer_with(slow(0.5))
    gproxy.clock.advance(60)
    assert gproxy.upstreams["users"][0]["state"] == "healthy"
    users.answer_with(slow(50))  # beyond health_timeout
    gproxy.clock.advance(60)
    assert gproxy.upstreams["users"][0]["state"] == "unhealthy"


@pytest.mark.gproxy(ONE.replace("{more}", "handlers = limit\n[handler:limit]\nuse = rate_limit\nlimit = 3/m"))
def test_limits_end_with_their_window(gproxy):
    assert [gproxy.get("/users").status for _ in range(5)] == [200] * 3 + [429] * 2
    assert gproxy.line["reason"] == "rate_limited"
    assert gproxy.get("/users", client="192.0.2.9").status == 200
    gproxy.clock.advance(121)
    assert gproxy.get("/users").status == 200


@pytest.mark.gproxy(
    ONE.replace("{more}", "").replace(
        "http://10.0.0.1:81", "http://10.0.0.1:81\nmax_requests = 1\nqueue = 1\nqueue_timeout = 2s"
    )
    + "timeout = 30s\n"
)
def test_requests_queue_in_virtual_time(gproxy):
    gproxy.backend("users", slow(1.5))
    three = [gevent.spawn(gproxy.get, "/users") for _ in range(3)]
    gevent.joinall(three)
    assert sorted(one.value.status for one in three) == [200, 200, 503]
    assert sorted(line["duration"] for line in gproxy.lines) == [0.0, 1.5, 3.0]
    gproxy.backend("users", slow(9))
    two = [gevent.spawn(gproxy.get, "/users") for _ in range(2)]
    gevent.joinall(two)
    assert sorted((line["duration"], line["reason"]) for line in gproxy.lines[3:]) == [
        (2.0, "queue_timeout"),
        (9.0, ""),
    ]


@pytest.mark.gproxy(TWO.replace("{more}", "timeout = 30s").replace("\n[route", "\nhedge = 1s\n[route"))
def test_a_hedge_comes_after_its_time(gproxy):
    gproxy.backend("users", slow(9, answer(200, b"first")), at="10.0.0.1:81")
    gproxy.backend("users", slow(2, answer(200, b"hedge")), at="10.0.0.2:81")
    bodies = {gproxy.get("/users").body for _ in range(2)}
    assert bodies == {b"hedge"}
    assert sorted(line["duration"] for line in gproxy.lines) == [2.0, 3.0]


@pytest.mark.gproxy(ONE.replace("{more}", "").replace("http://10.0.0.1:81", "http://users.internal:81"))
def test_names_resolve_without_a_resolver(gproxy):
    assert gproxy.get("/users").status == 200
    assert gproxy.line["backend"] == "198.51.100.1:81"


@pytest.mark.gproxy("[gateway]\ntimeout = 3s\n" + with_handler("Sleepy"))
def test_a_handler_sleeps_in_virtual_time(gproxy):
    assert gproxy.get("/users", {"X-Sleep": "2"}).status == 200
    assert gproxy.line["duration"] == 2.0
    gproxy.expect_warning("timeout")
    assert gproxy.get("/users", {"X-Sleep": "5"}).status == 504
    assert (gproxy.line["duration"], gproxy.line["reason"]) == (3.0, "handler_timeout")


@pytest.mark.gproxy(with_handler("Ticking"))
def test_background_tasks_follow_the_clock_and_do_not_move_it(gproxy):
    before = gproxy.clock.now
    assert gproxy.get("/users").body == b"0"
    gevent.sleep(0.01)
    assert gproxy.clock.now == before
    gproxy.clock.advance(3600)
    assert gproxy.get("/users").body == b"60"


@pytest.mark.gproxy(with_handler("side_by_side"))
def test_calls_side_by_side_share_the_time(gproxy):
    gproxy.backend("users", slow(2, answer(200, b"x")))
    assert gproxy.get("/users").body == b"x+x"
    assert gproxy.line["duration"] == 2.0


@pytest.mark.gproxy("[gateway]\ntimeout = 3s\n" + with_handler("threaded"))
def test_real_waits_do_not_move_the_clock(gproxy):
    before = gproxy.clock.now
    assert gproxy.get("/users").status == 200
    assert gproxy.clock.now == before


@one
def test_the_same_seed_gives_the_same_choices(gproxy, tmp_path):
    def chosen(seed):
        ini = TWO.replace("{more}", "").replace("\n[route", "\nbalance = random\n[route")
        with KitGateway(ini, tmp_path / "gproxy.ini", seed=seed) as made:
            for _ in range(40):
                made.get("/users")
            return [line["backend"] for line in made.lines]

    assert chosen(1) == chosen(1) != chosen(2)


@one
def test_a_request_is_explained(gproxy):
    found = gproxy.explain("/users/1")
    assert found.route == "users"
    assert "route users" in str(found)
    assert gproxy.explain("/nowhere").route == ""


@one
def test_unknown_names_are_reported(gproxy):
    with pytest.raises(LookupError, match="did you mean 'users'"):
        gproxy.backend("user")
    with pytest.raises(LookupError, match=r"no backend '10.0.0.9:81'; did you mean '10.0.0.1:81'"):
        gproxy.backend("users", at="10.0.0.9:81")
    with pytest.raises(ValueError, match="expected 0 or more"):
        slow(-1)
    with pytest.raises(ValueError, match="cannot go back"):
        gproxy.clock.advance(-1)


@one
def test_what_a_backends_function_raises_fails_the_test(gproxy):
    def answering(request):
        assert request.path == "/other"

    gproxy.backend("users", answering)
    gproxy.expect_warning("")
    with pytest.raises(AssertionError, match="/other"):
        gproxy.get("/users")


@one
def test_a_silent_backend_ends_with_the_timeout(gproxy):
    gproxy.expect_warning("did not respond in time")
    gproxy.backend("users", slow(math.inf))
    assert gproxy.get("/users").status == 504
    assert gproxy.line["duration"] == gproxy.settings.gateway.timeout


@one
def test_https_and_other_clients_can_be_tried(gproxy):
    users = gproxy.backend("users")
    gproxy.get("/users", scheme="https")
    assert users.requests[0].headers["X-Forwarded-Proto"] == "https"


def check_of(ini, tmp_path, act):
    """What the check of a gateway reports after an action; empty if it passes."""
    with KitGateway(ini, tmp_path / "gproxy.ini") as gateway:
        act(gateway)
        try:
            gateway.check()
        except AssertionError as error:
            return str(error)
        return ""


@one
def test_what_is_no_answer_is_rejected(gproxy):
    with pytest.raises(TypeError, match=r"expected answer\(…\), slow\(…\) or a function; found 200"):
        gproxy.backend("users", answer(200), 200)


def test_a_dropped_response_is_a_leak(tmp_path):
    def ask(gateway):
        gateway.backend("users", answer(200, [b"a", b"b"]))
        assert gateway.get("/users/7").status == 204
        assert gateway.upstreams["users"][0]["active"] == 0

    found = check_of(with_handler("dropping"), tmp_path, ask)
    assert (
        "a connection to backend 10.0.0.1:81 of upstream users was leased until the end of GET /users/7 (route users)"
        in found
    )
    assert "close it, read it, or return it" in found


def test_a_lease_beyond_the_request_is_a_leak(tmp_path):
    def ask(gateway):
        gateway.backend("users", slow(5))
        gevent.spawn(gateway.get, "/users")
        gevent.sleep(0)

    assert check_of(ONE.replace("{more}", ""), tmp_path, ask) == (
        "a connection to backend 10.0.0.1:81 of upstream users is still leased"
    )


def test_a_look_up_that_outlasts_its_request_is_no_leak(tmp_path):
    def ask(gateway):
        gateway.expect_warning("the request goes on")
        gateway.backend("users", slow(0.3), answer(201))
        assert gateway.get("/users?a").status == 201
        gateway.check()
        gateway.clock.advance(0.3)
        gateway.get("/users?a")
        assert gateway.backend("users").requests[-1].headers["X-Found"] == "200"

    more = "time_limit = 100ms\non_error = skip\n"
    assert check_of(with_handler("Looking", more), tmp_path, ask) == ""


def test_unexpected_and_missing_warnings_are_reported(tmp_path):
    ini = with_handler("warning")
    assert check_of(ini, tmp_path, lambda one: one.get("/users")) == (
        "unexpected in the error log: the cache of /users is cold"
    )
    assert check_of(ini, tmp_path, lambda one: (one.get("/users"), one.expect_warning("is c.ld"))) == ""
    assert check_of(ini, tmp_path, lambda one: one.expect_warning("is cold")) == (
        "not in the error log, but expected: is cold"
    )
    assert "no luck" in check_of(with_handler("failing"), tmp_path, lambda one: one.get("/users"))
    assert check_of(with_handler("rejecting"), tmp_path, lambda one: one.get("/users")) == ""


def test_answers_have_readable_names():
    assert slow(2, reset()) == Slow(2, reset())
    assert repr(refused()) == "Refused()"


@pytest.mark.gproxy(
    ONE.replace("{more}", "")
    + "[route:metrics]\npath = /metrics\nhandlers = metrics\nrespond = 404\n[handler:metrics]\n"
    + "[route:health]\npath = /health\nhandlers = health\nrespond = 404\n[handler:health]\n"
)
def test_metrics_and_health_are_those_of_the_gateway(gproxy):
    gproxy.get("/users")
    assert (
        'gproxy_requests_total{reason="",route="users",status="200"} 1.0'
        in gproxy.get("/metrics", client="127.0.0.1").text
    )
    gproxy.clock.advance(90)
    health = gproxy.get("/health", client="127.0.0.1").json()
    assert health["uptime"] == 90.0
    assert health["upstreams"]["users"][0]["attempts"] == 1


@pytest.mark.gproxy(
    TWO.replace("{more}", "mirror = copies").replace(
        "[route:users]", "[upstream:copies]\nbackends = http://10.0.0.3:81\n[route:users]"
    )
)
def test_a_mirrored_request_is_no_leak(gproxy):
    copies = gproxy.backend("copies", slow(1, answer(200, [b"a", b"b"])))
    assert gproxy.get("/users").status == 200
    gproxy.clock.advance(2)
    assert len(copies.requests) == 1
    copies.answer_with(slow(999))
    gproxy.get("/users")
    gproxy.clock.advance(10)
    assert gproxy.upstreams["copies"][0]["active"] == 0  # the copy's own timeout has ended it
    gproxy.expect_warning("10.0.0.3:81: the backend did not respond in time")


@pytest.mark.gproxy(ONE.replace("{more}", "timeout = 60s").replace("\n[route", "\nidle_timeout = 30s\n[route"))
def test_kept_connections_age_in_virtual_time(gproxy):
    gproxy.get("/users")
    (backend,) = gproxy._whole.upstreams[0].backends
    gproxy.clock.advance(25)
    assert backend.idle == 1
    gproxy.clock.advance(10)
    assert backend.idle == 0


@pytest.mark.gproxy(
    ONE.replace("{more}", "timeout = 60s").replace("\n[route", "\nretry_on = 503\nretry_after = yes\n[route")
)
def test_a_pause_before_a_retry_takes_no_time(gproxy):
    gproxy.expect_warning("status 503")
    gproxy.backend("users", answer(503, b"", {"Retry-After": "9"}), answer(200))
    began = time.monotonic()
    assert gproxy.get("/users").status == 200
    assert (gproxy.line["tries"], gproxy.line["duration"]) == (2, 9.0)
    assert time.monotonic() - began < 5.0


@pytest.mark.gproxy(TWO.replace("{more}", "timeout = 60s").replace("\n[route", "\nbalance = latency\n[route"))
def test_a_backend_that_is_slower_in_virtual_time_gets_fewer_requests(gproxy):
    slower = gproxy.backend("users", slow(2), at="10.0.0.1:81")
    quicker = gproxy.backend("users", slow(0.1), at="10.0.0.2:81")
    for _ in range(40):
        gproxy.get("/users")
    assert len(quicker.requests) > 5 * len(slower.requests)


@pytest.mark.gproxy(ONE.replace("{more}", "timeout = 60s"))
def test_a_test_advances_while_a_request_waits(gproxy):
    before = gproxy.clock.now
    gproxy.backend("users", slow(5))
    waiting = gevent.spawn(gproxy.get, "/users")
    gproxy.clock.advance(2)
    assert (waiting.ready(), gproxy.clock.now - before) == (False, 2.0)
    gproxy.clock.advance(2)
    assert waiting.get().status == 200
    assert gproxy.clock.now - before == gproxy.line["duration"] == 5.0


JWT = "handlers = jwt\n[handler:jwt]\nsecret = auto\nforward = sub: X-User-ID, role: X-User-Role\n"


@pytest.mark.gproxy(ONE.replace("{more}", JWT))
def test_users_have_tokens_that_expire(gproxy):
    users = gproxy.backend("users")
    token = gproxy.token("alice", role="admin", ttl=60)
    bearer = {"Authorization": f"Bearer {token}", "X-User-ID": "mallory"}
    assert gproxy.get("/users", bearer).status == 200
    assert users.requests[0].headers["X-User-ID"] == gproxy.line["user"] == "alice"
    assert users.requests[0].headers["X-User-Role"] == "admin"
    gproxy.clock.advance(180)
    assert gproxy.get("/users", bearer).status == 401
    assert gproxy.get("/users").status == 401
    with pytest.raises(LookupError, match="expected a jwt handler with a secret; found jwt"):
        gproxy.token("alice", handler="other")


@pytest.mark.gproxy(with_handler("Sleepy", "time_limit = 1s\non_error = open\n"))
def test_the_time_limit_of_a_handler_is_virtual(gproxy):
    gproxy.expect_warning("time_limit")
    assert gproxy.get("/users", {"X-Sleep": "2"}).status == 200
    assert gproxy.line["duration"] == 1.0


@pytest.mark.parametrize("offload", ["no", "yes"])
def test_apps_and_files_answer_as_upstreams_do(offload, tmp_path):
    routes = f"""
[route:app]
path = /app
app = unit.testing.kit.handlers:app
offload = {offload}
[route:files]
path = /files
root = {Path(__file__).parent}
strip_prefix = yes
"""
    with KitGateway(routes, tmp_path / "gproxy.ini") as gateway:
        assert gateway.post("/app/1", b"abc").body == b"POST /app/1 abc"
        assert gateway.line["backend"] == "app"
        assert gateway.get("/files/test_gateway.py").body == Path(__file__).read_bytes()
        assert gateway.get("/files/none").status == 404
