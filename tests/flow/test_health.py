"""Probes and ejection through real sockets: what takes a backend out, what brings it back, what is said about it."""

import re
import threading

import pytest

from gproxy.testing.backends import Backend, reply
from gproxy.testing.gateway import RunningGateway, eventually, free_port


def reset(peer, request):
    peer.reset()


def in_the_head(peer, request):
    peer.send("HTTP/1.1 200 OK\r\nContent-Le")
    peer.reset()


def in_the_body(peer, request):
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    peer.reset()


def in_the_chunks(peer, request):
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    peer.close()


def garbage(peer, request):
    peer.send("garbage\r\n\r\n")
    peer.close()


def hang(peer, request):
    peer.read_all()
    peer.close()


def silent_in_the_body(peer, request):
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    peer.read_all()
    peer.close()


FAULTS = {
    "reset": (reset, "backend_reset"),
    "reset-in-the-head": (in_the_head, "backend_reset"),
    "reset-in-the-body": (in_the_body, "backend_reset"),
    "closed-in-the-chunks": (in_the_chunks, "backend_reset"),
    "garbage": (garbage, "backend_protocol"),
    "hang": (hang, "read_timeout"),
    "502": (reply(b"bad", status="502 Bad Gateway"), "status 502"),
    "503": (reply(b"busy", status="503 Service Unavailable"), "status 503"),
    "504": (reply(b"slow", status="504 Gateway Timeout"), "status 504"),
}


BACKENDS = "bad good probed other one"
INI = """
[gateway]
handlers = health
timeout = 1s
[handler:health]
cache = 0s
[route:two]
path = /two
upstream = two
[route:probed]
path = /probed
upstream = probed
[route:one]
path = /one
upstream = one
[upstream:two]
backends = {bad}, {good}
retries = 0
max_fails = 2
fail_window = 60s
eject_time = 400ms
[upstream:probed]
backends = {probed}, {other}
health_path = /alive?deep=1
health_status = 200-299, 304
health_body = /"status": "(ok|warm)"/
health_host = probe.test
health_headers = Authorization: Bearer probe
health_interval = 100ms
health_timeout = 300ms
rise = 1
fall = 2
[upstream:one]
backends = {one}
max_fails = 1
""" + "".join(
    f"""
[route:{fault}]
path = /{fault}
upstream = {fault}
[upstream:{fault}]
backends = {{bad}}, {{good}}
retries = 0
max_fails = 2
fail_window = 60s
read_timeout = 300ms
"""
    for fault in FAULTS
)


WELL = b'{"status": "ok"}'


@pytest.fixture
def play(play):
    """No backend is left out when a test begins, and none is when it ends."""
    all_well(play)
    yield play
    all_well(play)


def all_well(play):
    play.reset()
    for name in ("probed", "other"):
        play.backends[name].act = reply(WELL)

    def is_well():
        play.gateway.get("/two")
        play.gateway.get("/one")
        return {state for name in ("two", "one", "probed") for state in states(play, name)} == {"healthy"}

    eventually(is_well, "all well")
    for backend in play.backends.values():
        backend.requests.clear()


def facts(play, upstream):
    return play.gateway.health()["upstreams"][upstream]


def states(play, upstream):
    return [backend["state"] for backend in facts(play, upstream)]


def turns(play, count, name="two"):
    """So many requests to each of the two."""
    return [play.gateway.get(f"/{name}") for _ in range(2 * count)]


def until_it_is_out(play, act, name="two"):
    """Requests until the bad one is left out; a pooled connection that is reset is nobody's fault, so two may not do."""
    play.bad.act = act
    answers = []

    def is_out():
        if states(play, name) == ["unhealthy", "healthy"]:
            return True
        answers.append(play.gateway.get(f"/{name}"))
        return False

    eventually(is_out, "left out")
    return answers


@pytest.mark.parametrize("fault", FAULTS)
def test_what_takes_a_backend_out(play, fault):
    act, why = FAULTS[fault]
    answers = until_it_is_out(play, act, fault)
    (out, _) = facts(play, fault)
    assert out["why"] == why
    assert 3 <= out["next_try_in"] <= 5.5
    if fault.isdigit():  # its answer is the client's all the same
        assert [answer.status for answer in answers if answer.body != b"good"] == [int(fault)] * 2
        assert not [answer for answer in answers if answer["proxy-status"]]
    play.bad.requests.clear()
    assert {answer.body for answer in turns(play, 2, fault)} == {b"good"}
    assert not play.bad.requests


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "429 Too Many Requests", "500 Oops", "501 No"])
def test_statuses_that_take_nobody_out(play, status):
    play.bad.act = reply(b"no", status=status)
    turns(play, 4)
    assert states(play, "two") == ["healthy", "healthy"]
    assert len(play.bad.requests) == 4


def test_a_body_that_stalls_takes_nobody_out(play):
    """The gateway's own limit cuts it: what moves and then pauses is slow, and not broken."""
    play.bad.act = silent_in_the_body
    answers = turns(play, 4)
    assert sorted(answer.complete for answer in answers) == [False] * 4 + [True] * 4
    assert states(play, "two") == ["healthy", "healthy"]
    assert "response broken off after 1 s without data (read_timeout of [upstream:two])" in play.gateway.errors


def test_a_client_that_leaves_takes_nobody_out(play):
    heard = threading.Semaphore(0)

    def act(peer, request):
        heard.release()
        peer.read_all()

    play.one.act = act
    for _ in range(3):
        with play.gateway.connect() as wire:
            wire.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
            assert heard.acquire(timeout=5)
    play.gateway.wait_until_idle()
    assert states(play, "one") == ["healthy"]


def test_a_client_that_leaves_in_the_middle_of_a_body_takes_nobody_out(play):
    def act(peer, request):
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        try:
            while True:
                peer.send(b"x" * 100_000)
        except OSError:
            peer.close()

    play.bad.act = play.good.act = act
    for _ in range(4):
        with play.gateway.connect() as wire:
            wire.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.read_until(b"xxxx")
    play.gateway.wait_until_idle()
    assert states(play, "two") == ["healthy", "healthy"]


def test_one_request_at_a_time_is_a_trial(play):
    """Twenty clients come at once when the time is over: one of them meets the backend on trial."""
    until_it_is_out(play, reset)
    go = threading.Event()
    asked = threading.Event()

    def act(peer, request):
        asked.set()
        go.wait(5)
        reply(b"bad")(peer, request)

    play.bad.act = act
    play.bad.requests.clear()
    bodies = []
    crowd = [threading.Thread(target=lambda: bodies.append(play.gateway.get("/two").body)) for _ in range(20)]
    trial = threading.Thread(target=lambda: eventually(lambda: play.gateway.get("/two").body == b"bad", "the trial"))
    trial.start()
    assert asked.wait(10)
    assert states(play, "two") == ["trial", "healthy"]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert bodies == [b"good"] * 20
    assert len(play.bad.requests) == 1
    go.set()
    trial.join()
    assert states(play, "two") == ["healthy", "healthy"]
    assert sorted(answer.body for answer in turns(play, 2)) == [b"bad", b"bad", b"good", b"good"]
    name = f"backend 127.0.0.1:{play.bad.port}"
    assert re.search(rf"upstream two: {name} ejected for 0\.\d s: backend_reset\n", play.gateway.errors)
    assert f"upstream two: {name} restored\n" in play.gateway.errors


def test_a_flapping_backend_is_left_out_for_longer_each_time(play):
    times = []
    for _ in range(3):
        until_it_is_out(play, reset)
        line = [line for line in play.gateway.errors.splitlines() if "ejected for" in line][-1]
        times.append(float(re.search(r"for ([0-9.]+) s", line)[1]))
        play.bad.act = reply(b"bad")
        eventually(lambda: play.gateway.get("/two").body == b"bad", "its return")
    assert times == sorted(times)
    assert times[2] - times[0] >= 0.7


def test_a_dead_backend_does_not_fill_the_log(play):
    play.one.act = reset
    before = play.gateway.errors.count(f"127.0.0.1:{play.one.port}")
    with play.gateway.connect() as wire:
        for _ in range(300):
            wire.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 502
    assert play.gateway.errors.count(f"127.0.0.1:{play.one.port}") - before <= 3
    play.gateway.wait_for_line("more within 10 s")


# --- probes


def alive(peer, request, body=WELL, status="200 OK", *headers):
    """Answers probes so, and everything else well."""
    is_probe = "/alive" in request.line
    reply(body if is_probe else b"probed", *headers, status=status if is_probe else "200 OK")(peer, request)


def trickle(peer, request):
    """An answer that would be good, if it ever came to its end."""
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    with_pauses = threading.Event()
    for _ in range(50):
        peer.send(b"x")
        with_pauses.wait(0.05)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda peer, request: alive(peer, request, b'{"status": "broken"}'), "body"),
        (lambda peer, request: alive(peer, request, b"x" * 70_000 + WELL), "body"),
        (lambda peer, request: alive(peer, request, b""), "body"),
        (lambda peer, request: alive(peer, request, status="301 Moved"), "status 301"),
        (lambda peer, request: alive(peer, request, status="503 Sick"), "status 503"),
        (trickle, "timeout"),
        (hang, "timeout"),
        (reset, "backend_reset"),
        (in_the_head, "backend_reset"),
        (in_the_body, "backend_reset"),
        (garbage, "backend_protocol"),
    ],
)
def test_probes_that_fail(play, act, why):
    play.probed.act = act
    eventually(lambda: states(play, "probed") == ["unhealthy", "healthy"], "out")
    (out, _) = facts(play, "probed")
    assert out["why"] == why
    assert 0 <= out["next_try_in"] <= 0.5
    play.other.act = alive
    assert {play.gateway.get("/probed").body for _ in range(4)} == {b"probed"}
    play.gateway.wait_for_line(f"backend 127.0.0.1:{play.probed.port} fails its health checks: {why}")


@pytest.mark.parametrize("body", [b'{"status": "warm"}', b"x" * 1000 + WELL])
def test_probes_that_pass(play, body):
    play.probed.act = lambda peer, request: alive(peer, request, body, "206 Partial", "X-A: b")
    play.probed.requests.clear()
    play.probed.wait_for_requests(4)
    assert states(play, "probed") == ["healthy", "healthy"]


def test_what_a_probe_looks_like_and_that_it_counts_nowhere(play):
    before = facts(play, "probed")[0]
    play.probed.requests.clear()
    probe = play.probed.wait_for_requests(3)[0]
    assert probe.line == "GET /alive?deep=1 HTTP/1.1"
    assert (probe["host"], probe["authorization"]) == ("probe.test", "Bearer probe")
    assert (probe["user-agent"], probe["connection"]) == ("gproxy-health", "close")
    assert facts(play, "probed")[0] == before


def test_a_probe_goes_to_the_virtual_host_that_requests_go_to(tmp_path):
    with Backend(lambda peer, backend: backend.requests.append(peer.read_request())) as backend:
        ini = f"[route:r]\nupstream = u\n[upstream:u]\nbackends = {backend.url}\nhost = literal.test\nhealth_path = /alive\nhealth_interval = 1d\n"
        with RunningGateway(ini, tmp_path):
            assert backend.wait_for_requests(1)[0]["host"] == "literal.test"  # at once, not after a day


def test_a_dribbling_probe_is_cut_and_the_connection_closed(play):
    play.probed.act = trickle
    eventually(lambda: states(play, "probed")[0] == "unhealthy", "out")
    play.probed.act = alive
    eventually(lambda: states(play, "probed")[0] == "healthy", "back")
    eventually(lambda: play.probed.open <= 2, "cut")


def test_the_first_probe_decides_at_once(tmp_path):
    """fall = 3 and a day between two probes: but a backend that nobody has seen well is out after the first."""
    dead = free_port()
    with Backend(
        lambda peer, backend: (peer.read_request(), peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    ) as backend:
        ini = f"""
[gateway]
handlers = health
[route:r]
upstream = u
[upstream:u]
backends = http://127.0.0.1:{dead}, {backend.url}
health_path = /alive
health_interval = 1d
initial = {{initial}}
"""
        for initial, expected in {"unknown": "unhealthy", "down": "unhealthy", "up": "healthy"}.items():
            folder = tmp_path / initial
            folder.mkdir()
            with RunningGateway(ini.format(initial=initial), folder) as gateway:

                def seen(gateway=gateway):
                    return gateway.health()["upstreams"]["u"]

                eventually(lambda: seen()[1]["state"] == "healthy", "probed")
                eventually(lambda expected=expected: seen()[0]["state"] == expected, expected)
                if expected == "unhealthy":
                    assert seen()[0]["why"] == "connect_refused"
                    assert gateway.get("/").status == 200
                    assert gateway.line("/")["tries"] == "1"


def test_down_means_no_traffic_before_the_first_good_probe(tmp_path):
    well = threading.Event()

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            probed = "/alive" in request.line
            status = "200 OK" if well.is_set() or not probed else "500 Not Yet"
            peer.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")

    with Backend(script) as backend:
        ini = f"""
[gateway]
handlers = health
[route:r]
upstream = u
[upstream:u]
backends = {backend.url}
health_path = /alive
health_interval = 50ms
initial = down
rise = 1000
"""
        with RunningGateway(ini, tmp_path) as gateway:
            backend.wait_for_requests(3)
            answer = gateway.get("/x")
            assert (answer.status, answer["retry-after"]) == (503, "1")
            assert answer["proxy-status"] == "gproxy; error=destination_unavailable"
            assert gateway.line("/x")["reason"] == "none_available"
            assert gateway.health()["status"] == "degraded"
            well.set()
            gateway.wait_for_line("passes its health checks\n")
            assert gateway.get("/x").status == 200
        assert not [seen for seen in backend.requests[:3] if "/alive" not in seen.line]


def test_a_name_that_does_not_resolve_starts_and_is_said_to_be_down(tmp_path):
    ini = """
[gateway]
handlers = health
[handler:health]
cache = 0s
[route:probed]
path = /probed
upstream = probed
[route:asked]
path = /asked
upstream = asked
[upstream:probed]
backends = http://nowhere.invalid:80
health_path = /alive
health_interval = 100ms
health_timeout = 5s
[upstream:asked]
backends = http://nowhere.invalid:80
"""
    with RunningGateway(ini, tmp_path) as gateway:

        def seen(name):
            return gateway.health()["upstreams"][name][0]

        eventually(lambda: seen("probed")["state"] == "unhealthy", "down")
        assert seen("probed")["why"] == "dns_error"
        assert "next_try_in" in seen("probed")
        gateway.wait_for_line("upstream probed: nowhere.invalid:80 does not resolve")
        for _ in range(2):
            answer = gateway.get("/asked")
            assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=dns_error")
            gateway.get("/asked")
        assert (seen("asked")["state"], seen("asked")["why"]) == ("unhealthy", "dns_error")
        assert gateway.health()["status"] == "degraded"
