"""What several workers have in common: limits, turns, metrics, opinions of backends; through reloads and kills."""

import concurrent.futures
import os
import signal
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = WORKERS
[gateway]
handlers = metrics, health, rate_limit
[handler:metrics]
[handler:health]
cache = 0s
[handler:rate_limit]
limit = 100/hour
key = header:X-User
[route:users]
path = /users
upstream = users
[upstream:users]
backends = ONE, TWO
retries = 0
max_fails = 3
eject_time = 30s
OPTIONS
[log]
access = log/access.log
"""


class Setup:
    def __init__(self, folder, workers=2, options=""):
        self.one, self.two = Actor(reply(b"1")), Actor(reply(b"2"))
        ini = INI.replace("WORKERS", str(workers)).replace("OPTIONS", options)
        self.gateway = RunningGateway(ini.replace("ONE", self.one.url).replace("TWO", self.two.url), folder)

    def __enter__(self):
        self.one.__enter__()
        self.two.__enter__()
        self.gateway.__enter__()
        return self

    def __exit__(self, *error):
        self.gateway.__exit__(*error)
        self.one.stop()
        self.two.stop()

    def ask(self, times, user=""):
        """Requests on many connections at a time: how many got which status."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _: self.gateway.get("/users", f"X-User: {user}").status, range(times))
            statuses = list(answers)
        return {status: statuses.count(status) for status in set(statuses)}

    def metrics(self):
        page = self.gateway.get("/metrics").body.decode()
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def states(self):
        return [backend["state"] for backend in self.gateway.health()["upstreams"]["users"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_exactly_the_limit_passes_whoever_is_asked_and_whatever_is_reloaded(tmp_path, workers):
    with Setup(tmp_path, workers) as setup:
        setup.gateway.wait_for_answers_of(workers)
        assert setup.ask(60, "alice") == {200: 60}
        setup.gateway.reload()
        assert setup.ask(60, "alice") == {200: 40, 429: 20}
        setup.gateway.reload()
        assert setup.ask(10, "alice") == {429: 10}
        assert setup.ask(110, "bob") == {200: 100, 429: 10}


def test_a_limit_holds_while_reloads_go_on(tmp_path):
    with Setup(tmp_path, 1) as setup:
        admitted = []
        over = threading.Event()

        def keep_asking():
            while not over.is_set():
                admitted.append(setup.gateway.get("/users", "X-User: carol").status)
                time.sleep(0.005)

        threads = [threading.Thread(target=keep_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            setup.gateway.reload()
        eventually(lambda: admitted.count(429) > 20, "refusals")
        over.set()
        for thread in threads:
            thread.join()
        assert admitted.count(200) == 100
        assert set(admitted) == {200, 429}


def test_killed_workers_take_nothing_with_them(tmp_path):
    with Setup(tmp_path) as setup:
        for turn in range(3):
            assert setup.ask(20, "dave") == {200: 20}
            victim = setup.gateway.wait_for_answers_of(2).pop()
            counted = ("gproxy_requests_total", "", "users", "200")
            eventually(lambda: setup.metrics()[counted] == 20 * (turn + 1), "all requests in the metrics")  # noqa: B023
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: victim not in setup.gateway.wait_for_answers_of(2), "another worker")  # noqa: B023
            assert setup.metrics()[counted] == 20 * (turn + 1)
        assert setup.ask(60, "dave") == {200: 40, 429: 20}
        rejected = ("gproxy_requests_total", "rate_limited", "users", "429")
        eventually(lambda: setup.metrics().get(rejected) == 20, "all rejections in the metrics")
        eventually(lambda: setup.metrics()[("gproxy_workers",)] == 2, "two workers in the metrics")
        assert setup.metrics()[("gproxy_workers_started_total",)] == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_turns_are_taken_together_and_go_on_after_a_reload(tmp_path, workers):
    with Setup(tmp_path, workers) as setup:
        setup.gateway.wait_for_answers_of(workers)
        said = ""
        for _ in range(3):
            said += "".join(setup.gateway.get("/users", f"X-User: {len(said)}").body.decode() for _ in range(15))
            setup.gateway.reload()
        assert said in ("12" * 23, "21" * 23, ("12" * 23)[:45], ("21" * 23)[:45])


@pytest.mark.parametrize("workers", [1, 2])
def test_metrics_are_those_of_all_workers_and_never_go_back(tmp_path, workers):
    with Setup(tmp_path, workers) as setup:
        setup.gateway.wait_for_answers_of(workers)
        for turn in range(1, 4):
            setup.ask(30, str(turn))
            counted = ("gproxy_requests_total", "", "users", "200")
            eventually(lambda: setup.metrics()[counted] == 30 * turn, "all requests in the metrics")  # noqa: B023
            figures = setup.metrics()
            assert figures[counted] == 30 * turn
            assert figures["gproxy_request_duration_seconds_count", "users"] == 30 * turn
            assert figures["gproxy_response_bytes_total", "users"] >= 30 * turn
            setup.gateway.reload()
        labels = [backend.url.removeprefix("http://") for backend in (setup.one, setup.two)]

        def attempts():
            figures = setup.metrics()
            return sum(figures["gproxy_backend_attempts_total", label, "users"] for label in labels)

        eventually(lambda: attempts() == 90, "all attempts in the metrics")


def test_what_one_worker_finds_out_all_know_and_the_next_generation_too(tmp_path):
    with Setup(tmp_path) as setup:
        setup.gateway.wait_for_answers_of(2)
        setup.two.act = lambda peer, _: peer.reset()
        eventually(lambda: setup.ask(5, str(time.time())) and "ejected for" in setup.gateway.errors, "an ejection")
        eventually(lambda: {tuple(setup.states()) for _ in range(20)} == {("healthy", "unhealthy")}, "one opinion")
        assert setup.gateway.errors.count("ejected for") == 1
        assert setup.ask(50, "erin") == {200: 50}
        setup.gateway.reload()
        assert {tuple(setup.states()) for _ in range(20)} == {("healthy", "unhealthy")}
        assert setup.ask(50, "erin") == {200: 50}


def test_one_worker_probes_for_all_and_another_when_it_is_killed(tmp_path):
    def act(peer, request):
        if b"/probe" in request.head:
            probes.append(time.monotonic())
            peer.send(b"HTTP/1.1 %d Well\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            peer.close()
        else:
            reply(b"2")(peer, request)

    probes, status = [], 200
    options = "health_path = /probe\nhealth_interval = 200ms\nrise = 1\nfall = 1"
    with Setup(tmp_path, options=options) as setup:
        setup.two.act = act
        pids = setup.gateway.wait_for_answers_of(2)
        del probes[:]
        eventually(lambda: len(probes) >= 10, "probes")
        # 180 ms apart at least, where two would be half of that.
        assert (probes[9] - probes[0]) / 9 > 0.16
        for pid in pids:  # whichever it was
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: pid not in setup.gateway.wait_for_answers_of(2), "another worker")  # noqa: B023
        seen = len(probes)
        eventually(lambda: len(probes) > seen + 3, "probes by another")
        status = 500
        eventually(lambda: {tuple(setup.states()) for _ in range(10)} == {("healthy", "unhealthy")}, "a bad opinion")
        setup.gateway.reload()
        assert {tuple(setup.states()) for _ in range(10)} == {("healthy", "unhealthy")}
        status = 200
        eventually(lambda: {tuple(setup.states()) for _ in range(10)} == {("healthy", "healthy")}, "a good opinion")
